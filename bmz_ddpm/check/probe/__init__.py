"""Run a package's weights in the engines of one Python environment, and measure.

Imported here, and copied and run as ``python -m probe JOB.json RESULT.json`` in environments in
which bmz-ddpm is not installed. It therefore imports only numpy, itself and what the job needs,
and understands Python 3.10. `check.job` makes the job.
"""
