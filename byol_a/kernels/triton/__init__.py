"""The kernels of `byol_a.kernels.base` in Triton, one file per kind of pass.

All of them move more than they compute, so they are laid out for the memory: a program takes tiles of some positions
by all channels of a block, whose channels lie side by side, in accesses of 16 bytes. What is summed is summed by each
program for itself, then over the programs in a fixed order, so that a result never depends on chance or on the number
of multiprocessors. No kernel waits for the host; once a shape has been run, its launches may be captured in a CUDA
graph.
"""
