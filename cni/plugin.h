/* The chained CNI plug-in (CNI 0.3.1 to 1.1.0): a small client of the agent. It changes nothing itself: what
 * the plug-ins before it returned is printed byte for byte. Thread: the process' only one. */
#pragma once

/* Environment and standard input as a runtime gives them; the answer goes to standard output. Returns the exit
 * status. */
int plugin_run(void);
