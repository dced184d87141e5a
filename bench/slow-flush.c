/* Preloaded into a process, adds 5 ms to every flush of a file, as a network disk does. Linux only. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <time.h>

typedef int flush_function(int);

static int slowly(const char *name, int fd) {
  const struct timespec delay = {0, 5000000};
  nanosleep(&delay, 0);
  return ((flush_function *)dlsym(RTLD_NEXT, name))(fd);
}

int fsync(int fd) { return slowly("fsync", fd); }
int fdatasync(int fd) { return slowly("fdatasync", fd); }
