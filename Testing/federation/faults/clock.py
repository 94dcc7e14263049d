"""A site's clock a day off: a small C library, loaded before all others, shifts what its processes read."""

from __future__ import annotations

import subprocess
from pathlib import Path

from .ground import Ground, Result

_SHIFT = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdlib.h>
#include <sys/time.h>
#include <time.h>
static long off(void) { const char *s = getenv("FEDKDTAVI_CLOCK_S"); return s ? atol(s) : 0; }
int clock_gettime(clockid_t id, struct timespec *t) {
  static int (*real)(clockid_t, struct timespec *);
  if (!real) real = dlsym(RTLD_NEXT, "clock_gettime");
  int code = real(id, t);
  if (id == CLOCK_REALTIME || id == CLOCK_REALTIME_COARSE) t->tv_sec += off();
  return code;
}
int gettimeofday(struct timeval *t, void *zone) {
  struct timespec now;
  clock_gettime(CLOCK_REALTIME, &now);
  t->tv_sec = now.tv_sec; t->tv_usec = now.tv_nsec / 1000;
  return 0;
}
time_t time(time_t *t) {
  struct timespec now;
  clock_gettime(CLOCK_REALTIME, &now);
  if (t) *t = now.tv_sec;
  return now.tv_sec;
}
"""
DAY_S = 86400


def shifted(folder: Path, seconds: int) -> dict[str, str]:
    """The environment of a process whose clock is ``seconds`` ahead; needs a C compiler (`cc`)."""
    source, library = folder / "clock.c", folder / "clock.so"
    source.write_text(_SHIFT, encoding="utf-8")
    subprocess.run(["cc", "-shared", "-fPIC", "-O1", "-o", str(library), str(source), "-ldl"], check=True)
    return {"LD_PRELOAD": str(library), "FEDKDTAVI_CLOCK_S": str(seconds)}


def a_day_off(ground: Ground) -> Result:
    """b's clock is a day behind, so that its certificate is not good yet; then a day ahead, all through the run."""
    with ground.trial("a clock a day off") as trial:
        ground.end(*({"b"} & ground.up))
        log = ground.loop.site("b") / "command.log"
        log.unlink(missing_ok=True)
        ground.start("b", **shifted(ground.folder, -DAY_S))
        trial.wait(lambda: log.exists() and "set the clock" in log.read_text(encoding="utf-8"), "b does not say so")
        named = next(line for line in log.read_text(encoding="utf-8").splitlines() if "set the clock" in line)
        ground.end("b")
        trial.start(b=shifted(ground.folder, DAY_S))
        trial.run()
        ground.end("b")
        happened = "a day behind: b does not start, and says why; a day ahead: no time is compared, nothing happens"
        return trial.result(happened, named)
