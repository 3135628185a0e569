/*
 * A disk that fails on demand, for programs that are started with LD_PRELOAD: it stands before the calls with which SQLite
 * writes. Only files under $DISK_FOLDER count, and not SQLite's -shm, which is memory, nor the .lock beside a store.
 *
 * What it does is the first word in the file $DISK_CONTROL, read at each call:
 *   enospc, eio-write, eio-sync, short, erofs: writes (or syncs) fail so, until the word is taken away.
 * $DISK_POWER_AT=n: at the n-th write or sync the power goes. Of what was written since the last sync of its file, each
 * sector of 512 bytes is there or not, by chance ($DISK_SEED); the process is gone at once.
 * $DISK_LIES=1: a sync does nothing, as on a disk that lies.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define SECTOR 512
#define FILES 64

struct kept {
  long sector;
  char before[SECTOR];
};

/* A file with what it held at its last sync, where it has been written since. */
struct file {
  char path[PATH_MAX];
  off_t size;
  struct kept *kept;
  long count, room;
  unsigned char *dirty; /* a bit a sector */
  long sectors;
};

static struct file files[FILES];
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static long operations, power_at = -1;
static unsigned long seed = 1;

static ssize_t (*real_pwrite)(int, const void *, size_t, off_t);
static ssize_t (*real_pread)(int, void *, size_t, off_t);
static int (*real_fdatasync)(int);
static int (*real_fsync)(int);
static int (*real_ftruncate)(int, off_t);

__attribute__((constructor)) static void begin(void) {
  real_pwrite = dlsym(RTLD_NEXT, "pwrite64");
  real_pread = dlsym(RTLD_NEXT, "pread64");
  real_fdatasync = dlsym(RTLD_NEXT, "fdatasync");
  real_fsync = dlsym(RTLD_NEXT, "fsync");
  real_ftruncate = dlsym(RTLD_NEXT, "ftruncate64");
  if (getenv("DISK_POWER_AT")) power_at = atol(getenv("DISK_POWER_AT"));
  if (getenv("DISK_SEED")) seed = strtoul(getenv("DISK_SEED"), 0, 10) * 2654435761UL + 1;
}

static int chance(void) {
  seed = seed * 6364136223846793005UL + 1442695040888963407UL;
  return (seed >> 40) & 1;
}

/* Whether the descriptor is of a file that counts; its path. */
static int counts(int fd, char *path) {
  const char *folder = getenv("DISK_FOLDER");
  char link[64];
  snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
  ssize_t length = folder ? readlink(link, path, PATH_MAX - 1) : -1;
  if (length < 0) return 0;
  path[length] = 0;
  if (strncmp(path, folder, strlen(folder)) != 0) return 0;
  return !strstr(path, "-shm") && !strstr(path, ".lock");
}

static int word_is(const char *word) {
  char text[32] = "";
  const char *control = getenv("DISK_CONTROL");
  int fd = control ? open(control, O_RDONLY) : -1;
  if (fd < 0) return 0;
  ssize_t length = read(fd, text, sizeof text - 1);
  close(fd);
  return length > 0 && strncmp(text, word, strlen(word)) == 0;
}

static struct file *file_of(const char *path, int fd) {
  for (int i = 0; i < FILES; i++) {
    if (files[i].path[0] == 0) {
      struct stat now;
      strcpy(files[i].path, path);
      files[i].size = fstat(fd, &now) == 0 ? now.st_size : 0;
      return &files[i];
    }
    if (strcmp(files[i].path, path) == 0) return &files[i];
  }
  abort();
}

/* Keeps what is there now, before it is written over. */
static void keep(struct file *file, int fd, off_t from, off_t to) {
  for (long sector = from / SECTOR; sector * SECTOR < to; sector++) {
    if (sector / 8 >= file->sectors) {
      long more = sector / 8 + 4096;
      file->dirty = realloc(file->dirty, more);
      memset(file->dirty + file->sectors, 0, more - file->sectors);
      file->sectors = more;
    }
    if (file->dirty[sector / 8] & (1 << (sector % 8))) continue;
    file->dirty[sector / 8] |= 1 << (sector % 8);
    if (file->count == file->room)
      file->kept = realloc(file->kept, (file->room = file->room * 2 + 256) * sizeof *file->kept);
    struct kept *kept = &file->kept[file->count++];
    kept->sector = sector;
    memset(kept->before, 0, SECTOR);
    if (real_pread(fd, kept->before, SECTOR, sector * SECTOR) < 0) abort();
  }
}

static void synced(struct file *file, int fd) {
  struct stat now;
  file->count = 0;
  if (file->dirty) memset(file->dirty, 0, file->sectors);
  if (fstat(fd, &now) == 0) file->size = now.st_size;
}

static void power_loss(void) {
  for (int i = 0; i < FILES && files[i].path[0]; i++) {
    struct file *file = &files[i];
    int fd = open(file->path, O_RDWR);
    if (fd < 0) continue;
    struct stat now;
    if (fstat(fd, &now) != 0) abort();
    for (long at = 0; at < file->count; at++)
      if (chance() && real_pwrite(fd, file->kept[at].before, SECTOR, file->kept[at].sector * SECTOR) < 0) abort();
    /* Its length was not written either, or it was. */
    if (real_ftruncate(fd, chance() ? file->size : now.st_size) != 0) abort();
  }
  _exit(137);
}

/* Counts an operation; the power may go at it. */
static void operate(void) {
  if (++operations == power_at) power_loss();
}

ssize_t pwrite64(int fd, const void *data, size_t size, off_t at) {
  char path[PATH_MAX];
  if (!counts(fd, path)) return real_pwrite(fd, data, size, at);
  if (word_is("enospc")) return errno = ENOSPC, -1;
  if (word_is("eio-write")) return errno = EIO, -1;
  if (word_is("erofs")) return errno = EROFS, -1;
  pthread_mutex_lock(&lock);
  /* Half of it, and then no more. */
  size_t given = word_is("short") ? size / 2 : size;
  keep(file_of(path, fd), fd, at, at + given);
  ssize_t written = given == 0 ? 0 : real_pwrite(fd, data, given, at);
  operate();
  pthread_mutex_unlock(&lock);
  return written;
}

ssize_t pwrite(int fd, const void *data, size_t size, off_t at) { return pwrite64(fd, data, size, at); }

int ftruncate64(int fd, off_t size) {
  char path[PATH_MAX];
  struct stat now;
  if (!counts(fd, path)) return real_ftruncate(fd, size);
  if (word_is("eio-write")) return errno = EIO, -1;
  pthread_mutex_lock(&lock);
  if (fstat(fd, &now) == 0 && now.st_size > size) keep(file_of(path, fd), fd, size, now.st_size);
  int result = real_ftruncate(fd, size);
  operate();
  pthread_mutex_unlock(&lock);
  return result;
}

int ftruncate(int fd, off_t size) { return ftruncate64(fd, size); }

static int sync_file(int fd, int (*real)(int)) {
  char path[PATH_MAX];
  if (!counts(fd, path)) return real(fd);
  if (word_is("eio-sync")) return errno = EIO, -1;
  pthread_mutex_lock(&lock);
  operate();
  if (!getenv("DISK_LIES")) synced(file_of(path, fd), fd);
  pthread_mutex_unlock(&lock);
  return 0;
}

int fdatasync(int fd) { return sync_file(fd, real_fdatasync); }
int fsync(int fd) { return sync_file(fd, real_fsync); }
