/* Prints the clock in GHz, then for each cache and for DRAM its bytes, what it sends and takes in GB/s where one core
 * changes what it reads, and the latency of a chain of loads in ns. */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

/* Seconds of this process alone: others may run on the machine, too. */
static double now(void) {
  struct timespec t;
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
  return t.tv_sec + 1e-9 * t.tv_nsec;
}

/* One addition a cycle, each of the result before. */
static double clock_ghz(void) {
  double best = 0;
  for (int round = 0; round < 5; round++) {
    long count = 100000000, x = round;
    double start = now();
    for (long i = 0; i < count; i += 10)
      __asm__ volatile("add $1, %0\n add $1, %0\n add $1, %0\n add $1, %0\n add $1, %0\n"
                       "add $1, %0\n add $1, %0\n add $1, %0\n add $1, %0\n add $1, %0" : "+r"(x));
    double ghz = count / (now() - start) * 1e-9;
    if (ghz > best) best = ghz;
  }
  return best;
}

static void change(double *x, size_t n) {
  for (size_t i = 0; i < n; i++) x[i] = x[i] * 0.99;
}

static double gb_s(size_t bytes) {
  size_t n = bytes / sizeof(double);
  double *x = aligned_alloc(4096, bytes), best = 0;
  for (size_t i = 0; i < n; i++) x[i] = 1;
  for (int round = 0; round < 7; round++) {
    int repeat = (int)((size_t)(64 << 20) / bytes) + 1;
    double start = now();
    for (int i = 0; i < repeat; i++) change(x, n);
    double rate = 2.0 * bytes * repeat / (now() - start) * 1e-9;
    if (rate > best) best = rate;
  }
  free(x);
  return best;
}

static double latency_ns(size_t bytes) {
  size_t lines = bytes / 64, at = 0;
  size_t *order = malloc(lines * sizeof *order);
  char *memory = aligned_alloc(4096, bytes);
  unsigned long long state = 1;
  for (size_t i = 0; i < lines; i++) order[i] = i;
  for (size_t i = lines - 1; i > 0; i--) {
    state = state * 6364136223846793005ULL + 1442695040888963407ULL;
    size_t j = (state >> 33) % (i + 1), other = order[i];
    order[i] = order[j];
    order[j] = other;
  }
  for (size_t i = 0; i < lines; i++) *(void **)(memory + 64 * order[i]) = memory + 64 * order[(i + 1) % lines];
  void **place = (void **)memory;
  for (; at < lines; at++) place = *place;
  size_t steps = lines < 2000000 ? 2000000 : lines;
  double best = 1e9;
  for (int round = 0; round < 3; round++) {
    double start = now();
    for (size_t i = 0; i < steps; i++) place = *place;
    double ns = (now() - start) / steps * 1e9;
    if (ns < best) best = ns;
  }
  if (!place) printf("\n");
  free(order);
  free(memory);
  return best;
}

/* The size of a cache of the first processor, where the system says so. */
static size_t size_of(int index, size_t usual) {
  char name[96], unit = 'K';
  unsigned long size = 0;
  snprintf(name, sizeof name, "/sys/devices/system/cpu/cpu0/cache/index%d/size", index);
  FILE *file = fopen(name, "r");
  if (file && fscanf(file, "%lu%c", &size, &unit) < 1) size = 0;
  if (file) fclose(file);
  return size ? size << (unit == 'M' ? 20 : 10) : usual;
}

int main(void) {
  /* The second is that of instructions. */
  size_t sizes[] = {size_of(0, 32 << 10), size_of(2, 1 << 20), size_of(3, 32 << 20)};
  printf("%.3f\n", clock_ghz());
  for (int i = 0; i < 3; i++) {
    /* Of a cache that others share, no more than a part is ours. */
    size_t within = i < 2 ? sizes[i] / 2 : sizes[i] / 12;
    printf("%zu %.2f %.2f\n", sizes[i], gb_s(within), latency_ns(within));
  }
  printf("0 %.2f %.2f\n", gb_s((size_t)256 << 20), latency_ns((size_t)256 << 20));
  return 0;
}
