/* For LD_PRELOAD: the allocation number FAIL_AT of the process fails; with FAIL_FROM=1 all from there on.
   (SQLite tests its handling of exhausted memory this way.) With COUNT_TO=FILE the number of allocations is
   written there at the end. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

static void *(*real_malloc)(size_t), *(*real_calloc)(size_t, size_t), *(*real_realloc)(void *, size_t);
static void *(*real_aligned_alloc)(size_t, size_t), (*real_free)(void *);
static int (*real_posix_memalign)(void **, size_t, size_t);
static long allocations, fail_at, fail_from;
static enum { unready, preparing, ready } state;

/* dlsym allocates before the real functions are known: from here, never given back. */
static _Alignas(16) char early[65536];
static size_t early_used;

static void *take_early(size_t bytes) {
  void *block = early + early_used;
  early_used += (bytes + 15) & ~(size_t)15;
  return early_used <= sizeof early ? block : NULL;
}

static void prepare(void) {
  const char *text;
  state = preparing;
  real_malloc = dlsym(RTLD_NEXT, "malloc");
  real_calloc = dlsym(RTLD_NEXT, "calloc");
  real_realloc = dlsym(RTLD_NEXT, "realloc");
  real_aligned_alloc = dlsym(RTLD_NEXT, "aligned_alloc");
  real_posix_memalign = dlsym(RTLD_NEXT, "posix_memalign");
  real_free = dlsym(RTLD_NEXT, "free");
  if ((text = getenv("FAIL_AT"))) fail_at = atol(text);
  if ((text = getenv("FAIL_FROM"))) fail_from = atol(text);
  state = ready;
}

static int fails(void) {
  const long n = __sync_add_and_fetch(&allocations, 1);
  const int now = fail_at > 0 && (fail_from ? n >= fail_at : n == fail_at);
  if (now) errno = ENOMEM;
  return now;
}

void *malloc(size_t bytes) {
  if (state == unready) prepare();
  if (state == preparing) return take_early(bytes);
  return fails() ? NULL : real_malloc(bytes);
}

void *calloc(size_t count, size_t bytes) {
  if (state == unready) prepare();
  if (state == preparing) return take_early(count * bytes); /* zero from the start */
  return fails() ? NULL : real_calloc(count, bytes);
}

void *realloc(void *block, size_t bytes) {
  if (state == unready) prepare();
  return fails() ? NULL : real_realloc(block, bytes);
}

void *aligned_alloc(size_t alignment, size_t bytes) {
  if (state == unready) prepare();
  return fails() ? NULL : real_aligned_alloc(alignment, bytes);
}

int posix_memalign(void **block, size_t alignment, size_t bytes) {
  if (state == unready) prepare();
  return fails() ? ENOMEM : real_posix_memalign(block, alignment, bytes);
}

void free(void *block) {
  if ((char *)block >= early && (char *)block < early + sizeof early) return;
  if (state == unready) prepare();
  real_free(block);
}

__attribute__((destructor)) static void write_count(void) {
  const char *path = getenv("COUNT_TO");
  FILE *file = path ? fopen(path, "w") : NULL;
  if (!file) return;
  fprintf(file, "%ld\n", allocations);
  fclose(file);
}
