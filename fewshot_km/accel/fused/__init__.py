"""One task at a time on a CPU, fast: operations that take fewer passes over memory, with first and second derivatives.

operations         which of torch's and ours are replaced by them, under any network
conv_norm          convolution, batch norm, ReLU and pooling: by a first_layer, or by convolution and normalisation
first_layer        all of it as one convolution, where images have few numbers to a window
convolution        convolutions with fast second derivatives, by torch or as window_products
normalisation      batch norm, max-pooling and ReLU in one go
kernel_modulation  KM-MAML's kernel modulators
layout             images and kernels as they lie in memory
*_loops            what of these is compiled to machine_code
"""
