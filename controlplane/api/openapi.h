#pragma once

#include <span>
#include <string>

#include "controlplane/api/route.h"

namespace ratchet::control {

// The OpenAPI 3.1 document of these routes, as JSON. Pure.
std::string openapi_document(std::span<const Route> routes);

// "components.schemas" of the document, as JSON text.
std::string_view openapi_schemas();

}  // namespace ratchet::control
