#include "cmd/dispatch.h"

int main(int argc, char *argv[])
{
    return dispatch(argc, (const char *const *)argv);
}
