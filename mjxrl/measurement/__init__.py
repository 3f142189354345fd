"""What `mjxrl-benchmark` measures, one file a question; each number of worlds is measured in a process of its own.

    report -> a process of cli/measure -> worker -> physics, learner, end_to_end, memory_use, sampling, startup

`report` and `tables` import neither jax nor torch. Every measurement is a `Sample`: repeats, their median and range.
"""
