// interrupt.h: notices Ctrl-C on threads where Python cannot raise KeyboardInterrupt.
#pragma once

#include <cstdint>

namespace linops {

// Python only remembers a SIGINT for its main thread, which may be waiting inside XLA for the very hooks that should
// stop.
void watch_interrupts();     // chains a counter in front of Python's handler; idempotent, GIL held
int64_t count_interrupts();  // SIGINTs seen since the first watch

}  // namespace linops
