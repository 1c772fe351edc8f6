// team.h: a batch of a native hook shared by threads of XLA's pool.
#pragma once

#include <string>

#include "worker.h"

namespace linops {

std::string run_in_parallel(const Execution& execution);  // nothing, or the text of the first error

}  // namespace linops
