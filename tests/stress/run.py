"""Runs random programs: ``python tests/stress/run.py 20000 --seed 0``."""

import argparse
import collections
import faulthandler
import gc
import pathlib
import sys
import time

sys.path[:0] = [str(pathlib.Path(__file__).parents[1])]
import jax  # noqa: E402
import quick_xla  # noqa: E402, F401

jax.config.update("jax_num_cpu_devices", 4)
jax.config.update("jax_numpy_rank_promotion", "raise")

from stress import programs, verdict  # noqa: E402

print_now = lambda *words: print(*words, flush=True)  # noqa: E731


def main():
    faulthandler.enable()
    gc.freeze()
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("count", type=int, help="how many programs")
    parser.add_argument("--seed", type=int, default=0, help="of the first one; the others count up")
    arguments = parser.parse_args()
    counts, kinds, start = collections.Counter(), collections.Counter(), time.monotonic()
    for n, seed in enumerate(range(arguments.seed, arguments.seed + arguments.count), 1):
        program = None
        try:
            program = programs.draw(seed)
            refusal = verdict.check(program)
        except Exception as error:
            report = verdict.report(seed, program, error)
            print_now(report.text)
            counts["failures"] += 1
            kinds[report.kind] += 1
        else:
            counts["programs as they should be" if refusal is None else f"refused: {refusal}"] += 1
        if n % 200 == 0:
            jax.clear_caches()
        if n % 10 == 0:
            spent = f"{time.monotonic() - start:.0f} s, {time.process_time():.0f} s of CPU"
            print_now(f"{n} programs, {counts['failures']} failures, {spent}")
    for name, count in [*counts.items(), *kinds.items()]:
        print_now(f"{count:6d}  {name}")
    return int(counts["failures"] > 0)


if __name__ == "__main__":
    sys.exit(main())
