# ratchet_model: the model itself, over LibTorch.
ratchet_torch_library(ratchet_model
  causal_lm.cc
  decoder_layer.cc
  generate.cc
  merge.cc
  param_arena.cc
  weights.cc
  LINK ratchet_ops ratchet_model_files)
