#!/bin/sh
# An environment in which learn2learn, higher, torchmeta and TorchOpt run beside a current torch and this suite:
#   sh benchmarks/speed/peers_env.sh FOLDER
# Then: FOLDER/bin/python benchmarks/speed/compare.py
#       FOLDER/bin/python benchmarks/speed/peer_gradients.py
#       python benchmarks/speed/image_banks.py --peer-python FOLDER/bin/python
#       FEWSHOT_KM_PEERS=FOLDER/bin/python python -m pytest tests/accel/test_peers.py
# Takes three minutes and 3 GB; needs a C compiler. Versions are those that it was tried with, on Python 3.11.
set -eu
folder=$1
checkout=$(cd "$(dirname "$0")/../.." && pwd)
constraints=$checkout/constraints.txt

python3 -m venv "$folder"
folder=$(cd "$folder" && pwd)
"$folder/bin/pip" install -c "$constraints" -e "$checkout" \
    higher==0.2.1 torchopt==0.7.3 ordered-set==4.1.0 h5py==3.16.0 \
    tqdm gym==0.26.2 cython==3.0.12 "setuptools<81" wheel
"$folder/bin/pip" install --no-deps torchvision==0.29.2 # its dependencies would replace a torch without CUDA
"$folder/bin/pip" install --no-deps torchmeta==1.8.0 # which asks for a torch below 1.10

# the sources come with C that an old Cython wrote, which does not compile against Python 3.11
"$folder/bin/pip" download --no-deps --no-build-isolation --no-binary learn2learn -d "$folder/sources" learn2learn==0.2.0
tar -xzf "$folder/sources/learn2learn-0.2.0.tar.gz" -C "$folder/sources"
cd "$folder/sources/learn2learn-0.2.0"
rm learn2learn/data/*.c
"$folder/bin/cython" -3 learn2learn/data/*.pyx
"$folder/bin/pip" install --no-deps --no-build-isolation .
