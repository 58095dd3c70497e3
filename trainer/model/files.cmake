# ratchet_model_files: the file formats around a model. Builds without LibTorch.
find_path(RATCHET_XXHASH_INCLUDE xxhash.h REQUIRED)

ratchet_library(ratchet_model_files
  adapter_config.cc
  copy_folder.cc
  digest.cc
  dtype.cc
  file_io.cc
  hf_folder.cc
  shard_index.cc
  inspect.cc
  inspect_render.cc
  json_fields.cc
  lora_layout.cc
  model_config.cc
  model_tensors.cc
  peft_folder.cc
  peft_names.cc
  random_weights.cc
  rope_config.cc
  safetensors.cc
  safetensors_file.cc
  safetensors_layout.cc
  LINK ratchet_proto OpenSSL::Crypto Threads::Threads nlohmann_json::nlohmann_json)
