"""What pyproject.toml cannot say: `datasets/`, a folder of data and no package, is installed as `bench/datasets/`."""

from setuptools import find_namespace_packages, setup

CODE = find_namespace_packages(include=["bench*", "models*", "reports*"])

setup(packages=[*CODE, "bench.datasets"], package_dir={"bench.datasets": "datasets"})
