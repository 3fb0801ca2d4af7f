"""One task at a time on a CPU, by operations that pass over memory less often, with first and second derivatives.

fast_operations  the context in which they replace torch's operations and the blocks of our networks
conv_block       a ConvBlock by the two below
convolution      convolutions with fast second derivatives
window_products  gradients of strided convolutions as matrix products
normalisation    batch norm, max-pooling and ReLU in one go
channels_last    the layout of images and kernels in memory
*_loops          loops compiled to machine_code
"""
