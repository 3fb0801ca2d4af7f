#!/bin/sh
# An environment in which learn2learn 0.2.0 runs beside a current torch:  sh benchmarks/speed/learn2learn_env.sh FOLDER
# Then: python benchmarks/speed/image_banks.py --peer-python FOLDER/bin/python
# Takes two minutes and 3 GB; needs a C compiler. Versions are those that it was tried with, on Python 3.11.
set -eu
folder=$1
constraints=$(dirname "$0")/../../constraints.txt

python3 -m venv "$folder"
"$folder/bin/pip" install -c "$constraints" torch numpy pillow requests scipy tqdm gym==0.26.2 \
    cython==3.0.12 "setuptools<81" wheel
"$folder/bin/pip" install --no-deps torchvision==0.29.2 # its dependencies would replace a torch without CUDA

# the sources come with C that an old Cython wrote, which does not compile against Python 3.11
"$folder/bin/pip" download --no-deps --no-build-isolation --no-binary learn2learn -d "$folder/sources" learn2learn==0.2.0
tar -xzf "$folder/sources/learn2learn-0.2.0.tar.gz" -C "$folder/sources"
cd "$folder/sources/learn2learn-0.2.0"
rm learn2learn/data/*.c
../../bin/cython -3 learn2learn/data/*.pyx
../../bin/pip install --no-deps --no-build-isolation .
