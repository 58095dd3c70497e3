#include "tests/support/certificate.h"

#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>

#include <cstdio>
#include <memory>

namespace ratchet::testing {

namespace {

template <auto Free>
struct Freer {
  template <class T>
  void operator()(T* pointer) const {
    Free(pointer);
  }
};
using KeyPtr = std::unique_ptr<EVP_PKEY, Freer<EVP_PKEY_free>>;
using CertificatePtr = std::unique_ptr<X509, Freer<X509_free>>;
using FilePtr = std::unique_ptr<std::FILE, Freer<std::fclose>>;

bool add_extension(X509* certificate, int kind, const std::string& value) {
  X509V3_CTX context;
  X509V3_set_ctx(&context, certificate, certificate, nullptr, nullptr, 0);
  const std::unique_ptr<X509_EXTENSION, Freer<X509_EXTENSION_free>> extension(
      X509V3_EXT_conf_nid(nullptr, &context, kind, value.c_str()));
  return extension && X509_add_ext(certificate, extension.get(), -1) == 1;
}

CertificatePtr make_certificate(EVP_PKEY* key, const std::vector<std::string>& host_names) {
  CertificatePtr certificate(X509_new());
  if (!certificate) return nullptr;
  X509_set_version(certificate.get(), 2);
  ASN1_INTEGER_set(X509_get_serialNumber(certificate.get()), 1);
  X509_gmtime_adj(X509_getm_notBefore(certificate.get()), -3600);
  X509_gmtime_adj(X509_getm_notAfter(certificate.get()), 24L * 3600);
  X509_NAME* name = X509_get_subject_name(certificate.get());
  X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC,
                             reinterpret_cast<const unsigned char*>("ratchet test"), -1, -1, 0);
  X509_set_issuer_name(certificate.get(), name);
  X509_set_pubkey(certificate.get(), key);
  std::string names = "IP:127.0.0.1";
  for (const std::string& host : host_names) names += ",DNS:" + host;
  const bool good = add_extension(certificate.get(), NID_subject_alt_name, names) &&
                    add_extension(certificate.get(), NID_basic_constraints, "critical,CA:TRUE") &&
                    X509_sign(certificate.get(), key, EVP_sha256()) != 0;
  return good ? std::move(certificate) : nullptr;
}

}  // namespace

bool write_certificate(const std::string& folder, const std::string& name,
                       const std::vector<std::string>& host_names) {
  const KeyPtr key(EVP_EC_gen("P-256"));
  if (!key) return false;
  const CertificatePtr certificate = make_certificate(key.get(), host_names);
  const FilePtr key_file(std::fopen((folder + "/" + name + ".key").c_str(), "w"));
  const FilePtr certificate_file(std::fopen((folder + "/" + name + ".pem").c_str(), "w"));
  return certificate && key_file && certificate_file &&
         PEM_write_PrivateKey(key_file.get(), key.get(), nullptr, nullptr, 0, nullptr, nullptr) ==
             1 &&
         PEM_write_X509(certificate_file.get(), certificate.get()) == 1;
}

}  // namespace ratchet::testing
