"""Package metadata. The build system and the tools are configured in pyproject.toml."""

import re
from pathlib import Path

from setuptools import find_packages, setup

HERE = Path(__file__).parent
VERSION = re.search(
    r'^__version__ = "([^"]+)"', (HERE / "keras_tag" / "__init__.py").read_text("utf-8"), re.M
).group(1)

CORE = [
    "keras>=3.15",
    "tensorflow>=2.21",
    "numpy>=2.1",
    # 9.12 wants an older protobuf than TensorFlow 2.21 does.
    "ortools>=9.13.4784",
    # Compiles the selection's search for more than fifteen tasks.
    "numba>=0.61",
    # The embedded digits, the demo's tables and its pictures.
    "scikit-learn>=1.6",
    "matplotlib>=3.9",
    "pandas>=2.2.2",  # The first for NumPy 2.
    # Student's t. scikit-learn needs it anyway.
    "scipy>=1.14",
    # Reads images, in a way that can say which file is damaged; matplotlib needs it anyway.
    "pillow>=11.0",
    # The report of a search, and its bar.
    "jinja2>=3.1.4",
    "tqdm>=4.66.3",
]
# tensorflow-datasets needs importlib_resources and forgets to require it.
DATASETS = ["tensorflow-datasets>=4.9.7", "importlib_resources>=6.0"]
# Models of which tests hold that they go the whole way (docs/works_out_of_the_box.md).
MODELS = ["keras-hub>=0.18.1", "keras-rs>=0.3"]
# For keras_tag.callbacks.AffinityLogger: TensorFlow no longer brings it.
TENSORBOARD = ["tensorboard>=2.20"]
# The trainings of a search on a cluster.
RAY = ["ray>=2.51"]  # The first whose commands work with today's click.
NOTEBOOKS = ["jupytext>=1.16", "nbclient>=0.10", "nbformat>=5.10", "ipykernel>=6.29"]
EXTRAS = {
    "datasets": DATASETS,
    "tensorboard": TENSORBOARD,
    "models": MODELS,
    "ray": RAY,
    "tutorials": ["jupyter>=1.1", *NOTEBOOKS],
    # The pages and the reference as a site: `mkdocs build`.
    "docs": ["mkdocs-material>=9.5", "mkdocstrings[python]>=0.27"],
    "test": [
        "pytest>=8.3",
        "pytest-xdist>=3.6.1",
        "hypothesis>=6.110",
        "psutil>=6.0",
        # Reads the hosted workflow and the hooks, to hold that what they call exists.
        "pyyaml>=6.0.2",
        *NOTEBOOKS,
        *DATASETS,
        *TENSORBOARD,
        *MODELS,
        *RAY,
    ],
    "lint": [
        # A formatter that changes between releases would fail CI for nobody's fault.
        "ruff>=0.17,<0.18",
        "mypy>=1.13",
        "pandas-stubs>=2.2",
        "pre-commit>=4.0",
        "pre-commit-hooks>=5.0",
    ],
}

setup(
    name="keras_tag",
    version=VERSION,
    description="Which tasks should train together: Task Affinity Groupings for Keras 3",
    long_description=(HERE / "README.md").read_text("utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    license_files=["LICENSE"],
    python_requires=">=3.11",
    packages=find_packages(include=["keras_tag", "keras_tag.*"]),
    package_data={
        "keras_tag": ["py.typed", "__init__.pyi", "datasets/tables/*.json", "search/*.j2"]
    },
    install_requires=CORE,
    extras_require=EXTRAS,
    entry_points={"console_scripts": ["keras-tag=keras_tag.command.main:main"]},
    classifiers=[
        "Development Status :: 4 - Beta",
        "Intended Audience :: Science/Research",
        "Programming Language :: Python :: 3",
        "Programming Language :: Python :: 3.11",
        "Programming Language :: Python :: 3.12",
        "Programming Language :: Python :: 3.13",
        "Topic :: Scientific/Engineering :: Artificial Intelligence",
        "Typing :: Typed",
    ],
    keywords="keras tensorflow multi-task-learning task-grouping task-affinity",
)
