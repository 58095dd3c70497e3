# Tests of the LibTorch half of trainer/model.
ratchet_torch_test(causal_lm_test causal_lm_test.cc
  LINK ratchet_model nlohmann_json::nlohmann_json LABELS model)
set_property(TEST causal_lm_test APPEND PROPERTY ENVIRONMENT OMP_WAIT_POLICY=PASSIVE)
