/* Runs a kernel and prints the median of its times in ms: `run N cold`. */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

DECLARATION;

static volatile double sink;

/* Seconds of this process alone: others may run on the machine, too. */
static double now(void) {
  struct timespec t;
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
  return t.tv_sec + 1e-9 * t.tv_nsec;
}

/* On a page of its own, and small enough that sums stay finite. */
static void *filled(size_t bytes) {
  void *all = aligned_alloc(4096, (bytes + 4095) / 4096 * 4096);
  if (!all) exit(1);
  return all;
}

static float *floats(size_t n) {
  float *all = filled(n * sizeof *all);
  for (size_t i = 0; i < n; i++) all[i] = (float)(i % 97) / 97;
  return all;
}

static double *doubles(size_t n) {
  double *all = filled(n * sizeof *all);
  for (size_t i = 0; i < n; i++) all[i] = (double)(i % 97) / 97;
  return all;
}

/* Any of n places. */
static int *places(size_t n) {
  int *all = filled(n * sizeof *all);
  unsigned long long state = 1;
  for (size_t i = 0; i < n; i++) {
    state = state * 6364136223846793005ULL + 1442695040888963407ULL;
    all[i] = (int)((state >> 33) % n);
  }
  return all;
}

static int compare(const void *a, const void *b) {
  double x = *(const double *)a, y = *(const double *)b;
  return (x > y) - (x < y);
}

/* The same of few elements of their own: what it leaves in the caches is the code, and not the data of others. */
static void few(void) {
  int N = 64;
  SETUP
  CALL;
}

enum { ROUNDS = 9 };

int main(int argc, char **argv) {
  if (argc < 3) return 1;
  int N = atoi(argv[1]), cold = atoi(argv[2]);
  (void)&floats, (void)&doubles, (void)&places;
  SETUP
  /* More than the caches hold. */
  size_t other = (size_t)FLUSHED << 20;
  char *flush = cold ? filled(other) : 0;
  int repeat = 1, rounds = ROUNDS;
  double start = now();
  CALL;
  double first = now() - start;
  if (!cold) {
    /* Long enough for the clock. */
    if (first < 5e-3) repeat = (int)(5e-3 / (first + 1e-8)) + 1;
    for (int i = 0; i < repeat && first < 0.1; i++) CALL;
  }
  if (first > 0.3) rounds = 3;
  double times[ROUNDS], clock = 1;
  for (int i = 0; i < 100; i++) {
    start = now();
    double own = now() - start;
    if (own < clock) clock = own;
  }
  for (int round = 0; round < rounds; round++) {
    /* Line by line: memset may pass the caches by. */
    for (size_t i = 0; cold && i < other; i += 64) flush[i]++;
    /* Cold are the data, neither the code nor the clock. */
    for (int i = 0; cold && i < 3; i++) few(), now();
    start = now();
    for (int i = 0; i < repeat; i++) CALL;
    times[round] = (now() - start - clock) / repeat;
  }
  qsort(times, rounds, sizeof *times, compare);
  printf("%.9f\n", 1e3 * times[rounds / 2]);
  return 0;
}
