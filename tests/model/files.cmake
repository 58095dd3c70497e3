# Tests of the torch-free half of trainer/model.
ratchet_test(model_files_test
  adapter_config_test.cc
  copy_folder_test.cc
  digest_test.cc
  dtype_test.cc
  hf_folder_test.cc
  inspect_test.cc
  lora_layout_test.cc
  model_config_test.cc
  peft_folder_test.cc
  random_weights_test.cc
  safetensors_file_test.cc
  safetensors_test.cc
  LINK ratchet_model_files
  LABELS model)
