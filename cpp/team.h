// team.h: a batch of a native hook shared by threads of XLA's pool.
#pragma once

#include "worker.h"

namespace linops {

Failure run_in_parallel(const Execution& execution);  // the first error

}  // namespace linops
