"""Python imports this file when it starts with this directory on PYTHONPATH."""

import sys

import pretend_gpu

pretend_gpu.act(setattr)
if any("understudy.training" in argument for argument in sys.orig_argv):
    pretend_gpu.act_for_torch(setattr)
