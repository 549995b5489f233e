#include "lib/base/file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/base/mem.h"

static enum rc fail(const char *path, struct errmsg *ret_msg)
{
    enum rc rc = RC_IO;
    if (errno == ENOENT || errno == ENOTDIR)
        rc = RC_NOT_FOUND;
    if (errno == EEXIST)
        rc = RC_EXISTS;
    errmsg_set(ret_msg, "%s: %s", path, strerror(errno));
    return rc;
}

enum rc file_read(const char *path, size_t max, struct strbuf *out, struct errmsg *ret_msg)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK); /* a FIFO must not hang us */
    if (fd < 0)
        return fail(path, ret_msg);
    char buf[4096];
    enum rc rc = RC_OK;
    size_t total = 0;
    for (;;) {
        ssize_t n = read(fd, buf, sizeof(buf));
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0) {
            errmsg_set(ret_msg, "%s: %s", path, strerror(errno));
            rc = RC_IO;
        }
        if (n <= 0)
            break;
        total += (size_t)n;
        if (total > max) {
            errmsg_set(ret_msg, "%s: larger than %zu bytes", path, max);
            rc = RC_LIMIT;
            break;
        }
        strbuf_add(out, buf, (size_t)n);
    }
    explicit_bzero(buf, sizeof(buf)); /* it may have been a key or a token */
    close(fd);
    return rc;
}

static bool write_all(int fd, struct str bytes)
{
    while (bytes.n) {
        ssize_t n = write(fd, bytes.p, bytes.n);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return false;
        bytes.p += n;
        bytes.n -= (size_t)n;
    }
    return true;
}

static enum rc write_temp(const char *temp, unsigned mode, struct str bytes, struct errmsg *ret_msg)
{
    unlink(temp); /* of a run that was killed */
    int fd = open(temp, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (fd < 0)
        return fail(temp, ret_msg);
    bool ok = fchmod(fd, (mode_t)mode) == 0 && write_all(fd, bytes) && fsync(fd) == 0;
    int err = errno;
    if (close(fd) != 0 && ok) {
        err = errno;
        ok = false;
    }
    if (ok)
        return RC_OK;
    unlink(temp);
    errno = err;
    return fail(temp, ret_msg);
}

static enum rc sync_folder(const char *folder, struct errmsg *ret_msg)
{
    int fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return fail(folder, ret_msg);
    enum rc rc = fsync(fd) == 0 ? RC_OK : fail(folder, ret_msg);
    close(fd);
    return rc;
}

static enum rc write_file(const char *path, unsigned mode, struct str bytes, unsigned rename_flags,
                          struct errmsg *ret_msg)
{
    const char *slash = strrchr(path, '/');
    char *folder AUTO_FREE =
        slash ? mem_strndup(path, slash == path ? 1 : (size_t)(slash - path)) : mem_strdup(".");
    char *temp AUTO_FREE = mem_printf("%s/.%s.tmp", folder, slash ? slash + 1 : path);
    enum rc rc = write_temp(temp, mode, bytes, ret_msg);
    if (rc != RC_OK)
        return rc;
    if (renameat2(AT_FDCWD, temp, AT_FDCWD, path, rename_flags) != 0) {
        rc = fail(path, ret_msg);
        unlink(temp);
        return rc;
    }
    return sync_folder(folder, ret_msg);
}

enum rc file_replace(const char *path, unsigned mode, struct str bytes, struct errmsg *ret_msg)
{
    return write_file(path, mode, bytes, 0, ret_msg);
}

enum rc file_create(const char *path, unsigned mode, struct str bytes, struct errmsg *ret_msg)
{
    return write_file(path, mode, bytes, RENAME_NOREPLACE, ret_msg);
}
