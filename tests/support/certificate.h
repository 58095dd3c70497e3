#pragma once

// A self-signed certificate for tests of TLS: valid for 127.0.0.1 and the names given.

#include <string>
#include <vector>

namespace ratchet::testing {

// Writes `folder`/<name>.pem and `folder`/<name>.key; false when it cannot.
bool write_certificate(const std::string& folder, const std::string& name,
                       const std::vector<std::string>& host_names);

}  // namespace ratchet::testing
