// module.cpp: the table of contents of the extension.
#include <nanobind/nanobind.h>
#include <nanobind/stl/pair.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <utility>
#include <vector>

#include "interpreter.h"
#include "native.h"
#include "on_arrays.h"
#include "registry.h"
#include "trampoline.h"
#include "views.h"

namespace nb = nanobind;
using linops::Counter;
using linops::OnArrays;
using linops::Signature;
using linops::Target;
using linops::TargetHandle;

namespace {

nb::capsule handler(XLA_FFI_Error* (*function)(XLA_FFI_CallFrame*)) {
  return nb::capsule(reinterpret_cast<void*>(function));
}

std::vector<PyObject*> pointers(const std::vector<nb::handle>& objects) {
  std::vector<PyObject*> found;
  for (nb::handle object : objects) found.push_back(object.ptr());
  return found;
}

void configure(nb::dict dtypes, nb::object resolve, nb::object report, nb::object collect, nb::object derived_arrays,
               nb::object swap_no_execution, unsigned long main_thread) {
  for (auto [code, dtype] : dtypes) {
    if (!linops::set_dtype(nb::cast<int>(code), dtype.ptr())) nb::raise_python_error();
  }
  linops::services = {resolve.release().ptr(),           report.release().ptr(),
                      collect.release().ptr(),           derived_arrays.release().ptr(),
                      swap_no_execution.release().ptr(), main_thread};
}

}  // namespace

NB_MODULE(_trampoline_ext, m) {
  if (!linops::import_numpy()) nb::raise_python_error();
  nb::set_leak_warnings(false);  // targets live as long as XLA's executables, past the module

  nb::class_<Counter>(m, "Counter").def(nb::init<>()).def_prop_ro("count", [](const Counter& counter) {
    return counter.calls->load(std::memory_order_relaxed);
  });
  nb::class_<TargetHandle>(m, "Target")
      .def(
          "__init__",
          [](TargetHandle* self, std::string name, nb::object call, nb::object store, nb::object start, bool direct,
             bool takes_out, bool batched, std::string looped, std::string ignored, const Counter& counter) {
            Signature signature{batched, false, std::move(looped), std::move(ignored), {}};
            new (self) TargetHandle{std::make_shared<Target>(std::move(name), call.ptr(), store.ptr(), start.ptr(),
                                                             direct, takes_out, std::move(signature), counter.calls)};
          },
          nb::kw_only(), nb::arg("name"), nb::arg("call"), nb::arg("store"), nb::arg("start"), nb::arg("direct"),
          nb::arg("takes_out"), nb::arg("batched"), nb::arg("looped"), nb::arg("ignored"), nb::arg("counter"));
  m.def(
      "native_target",
      [](std::string name, uintptr_t function, uintptr_t user_data, nb::object owner, nb::object start, bool is_handler,
         bool batched, bool parallel, std::string looped, std::string ignored,
         const std::vector<std::pair<uint64_t, int>>& takes, const Counter& counter) {
        Signature signature{batched, true, std::move(looped), std::move(ignored), {}};
        for (auto [dtypes, rank] : takes) signature.takes.push_back({dtypes, rank});
        auto target = std::make_shared<Target>(std::move(name), owner.ptr(), Py_None, start.ptr(), false, true,
                                               std::move(signature), counter.calls);
        target->function = reinterpret_cast<linops_function>(function);
        target->user_data = reinterpret_cast<void*>(user_data);
        target->is_handler = is_handler;
        target->parallel = parallel;
        return TargetHandle{std::move(target)};
      },
      nb::kw_only(), nb::arg("name"), nb::arg("function"), nb::arg("user_data"), nb::arg("owner"), nb::arg("start"),
      nb::arg("is_handler"), nb::arg("batched"), nb::arg("parallel"), nb::arg("looped"), nb::arg("ignored"),
      nb::arg("takes"), nb::arg("counter"));
  m.def(
      "register_target",
      [](const std::string& key, const TargetHandle& handle) { return linops::register_target(key, handle.target); },
      nb::arg("key"), nb::arg("target"));
  nb::class_<OnArrays>(m, "OnArrays")
      .def(
          "__init__",
          [](OnArrays* self, const TargetHandle& handle, std::string batch) {
            new (self) OnArrays(handle.target, std::move(batch));
          },
          nb::arg("target"), nb::arg("batch"))
      .def(
          "__call__",
          [](OnArrays& self, const std::vector<nb::handle>& operands, const std::vector<nb::handle>& results) {
            std::string error;
            if (!self.run(pointers(operands), pointers(results), error)) nb::raise_python_error();
            return error;
          },
          nb::arg("operands"), nb::arg("results"));
  m.def("count_targets", &linops::count_targets);
  m.def("configure", &configure, nb::kw_only(), nb::arg("dtypes"), nb::arg("resolve"), nb::arg("report"),
        nb::arg("collect"), nb::arg("derived_arrays"), nb::arg("swap_no_execution"), nb::arg("main_thread"));
  m.def("handlers", [] {
    nb::dict bundle;
    bundle["instantiate"] = handler(linops_instantiate);
    bundle["execute"] = handler(linops_execute);
    return bundle;
  });
  m.def("native_handlers", [] {
    nb::dict bundle;
    bundle["instantiate"] = handler(linops_native_instantiate);
    bundle["execute"] = handler(linops_native_execute);
    return bundle;
  });
  m.def("close", &linops::close_entries, nb::arg("seconds"));
}
