/* Prints the clock in GHz, how many loads and how many stores at places of no order wait at once, then for each cache and
 * for DRAM its bytes, what it sends and takes in GB/s where one core changes what it reads, and the latency of a chain of
 * loads in ns. Of a cache of the last level that others use too, its bytes are those that this core finds there. */
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <time.h>

/* Seconds of this process alone: others may run on the machine, too. */
static double now(void) {
  struct timespec t;
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
  return t.tv_sec + 1e-9 * t.tv_nsec;
}

/* One rotation a cycle, each of the result before: cores of today add constants without computing. */
static double clock_ghz(void) {
  double best = 0;
  for (int round = 0; round < 5; round++) {
    unsigned long count = 50000000, x = (unsigned long)round + 3;
    double start = now();
    for (unsigned long i = 0; i < count; i += 10)
      for (int j = 0; j < 10; j++) {
        x = x >> 7 | x << (8 * sizeof x - 7);
        __asm__ volatile("" : "+r"(x));
      }
    double ghz = count / (now() - start) * 1e-9;
    if (ghz > best) best = ghz;
  }
  return best;
}

/* In large pages where the system has them: looking up translations is not part of a latency. */
static void *large(size_t bytes) {
  size_t page = (size_t)2 << 20, all = (bytes + page - 1) / page * page;
  void *memory = aligned_alloc(page, all);
  if (!memory) exit(1);
#ifdef MADV_HUGEPAGE
  madvise(memory, all, MADV_HUGEPAGE);
#endif
  return memory;
}

static void change(double *x, size_t n) {
  for (size_t i = 0; i < n; i++) x[i] = x[i] * 0.99;
}

static double gb_s(size_t bytes) {
  size_t n = bytes / sizeof(double);
  double *x = aligned_alloc(4096, (bytes + 4095) / 4096 * 4096), best = 0;
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

static unsigned long long state = 1;
static size_t any(size_t n) {
  state = state * 6364136223846793005ULL + 1442695040888963407ULL;
  return (size_t)((state >> 33) % n);
}

static double latency_ns(size_t bytes) {
  size_t lines = bytes / 64;
  unsigned *order = malloc(lines * sizeof *order);
  char *memory = large(bytes);
  for (size_t i = 0; i < lines; i++) order[i] = (unsigned)i;
  for (size_t i = lines - 1; i > 0; i--) {
    size_t j = any(i + 1);
    unsigned other = order[i];
    order[i] = order[j];
    order[j] = other;
  }
  for (size_t i = 0; i < lines; i++)
    *(void **)(memory + (size_t)64 * order[i]) = memory + (size_t)64 * order[(i + 1) % lines];
  void **place = (void **)memory;
  /* So that a cache knows them: once round, but not of what no cache holds. */
  size_t steps = 2000000;
  for (size_t at = 0; at < (lines < steps ? lines : steps); at++) place = *place;
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

/* ns of each of many loads, or stores, at places of no order in so many bytes. */
static double each_ns(size_t bytes, int store) {
  size_t lines = bytes / 64, count = 2000000;
  unsigned *places = malloc(count * sizeof *places);
  char *memory = large(bytes);
  double best = 1e9;
  long sum = 0;
  for (size_t i = 0; i < lines; i++) *(long *)(memory + 64 * i) = 1;
  for (int round = 0; round < 3; round++) {
    for (size_t i = 0; i < count; i++) places[i] = (unsigned)any(lines);
    double start = now();
    if (store)
      for (size_t i = 0; i < count; i++) *(long *)(memory + (size_t)64 * places[i]) = (long)i;
    else
      for (size_t i = 0; i < count; i++) sum += *(long *)(memory + (size_t)64 * places[i]);
    double ns = (now() - start) / count * 1e9;
    if (ns < best) best = ns;
  }
  if (!sum && !store) printf("\n");
  free(places);
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
  size_t memory = sizes[2] * 2 < ((size_t)256 << 20) ? (size_t)256 << 20 : sizes[2] * 2;
  double far = latency_ns(memory), near = latency_ns(sizes[1] * 3);
  printf("%.3f %.2f %.2f\n", clock_ghz(), far / each_ns(memory, 0), far / each_ns(memory, 1));
  for (int i = 0; i < 3; i++) {
    /* Of a cache that others share, as much is ours as is found sooner than halfway to the memory. */
    while (i == 2 && sizes[2] / 2 > sizes[1] * 3 && latency_ns(sizes[2] / 2) > (near + far) / 2) sizes[2] /= 2;
    size_t within = i < 2 ? sizes[i] / 2 : sizes[1] * 3;
    printf("%zu %.2f %.2f\n", sizes[i], gb_s(within), latency_ns(within));
  }
  printf("0 %.2f %.2f\n", gb_s(memory), far);
  return 0;
}
