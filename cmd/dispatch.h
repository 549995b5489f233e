/* From the command line to a role. */
#pragma once

/* The whole program but the name main: returns the exit status, 2 for a wrong word or flag. */
int dispatch(int argc, const char *const argv[]);
