/* The pause image's only program and the first process of a lab node: waits, and buries orphans. */
#include <signal.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

static void end(int sig) { (void)sig; _exit(0); }
static void reap(int sig) { (void)sig; while (waitpid(-1, NULL, WNOHANG) > 0) ; }

int main(int argc, char **argv) {
  (void)argv;
  /* As init of a node (any argument) it must outlive a stray SIGTERM; the lab ends it with SIGKILL. */
  signal(SIGTERM, argc > 1 ? SIG_IGN : end);
  signal(SIGINT, argc > 1 ? SIG_IGN : end);
  struct sigaction chld = {.sa_handler = reap, .sa_flags = SA_NOCLDSTOP | SA_RESTART};
  sigaction(SIGCHLD, &chld, NULL);
  reap(0);
  for (;;) pause();
}
