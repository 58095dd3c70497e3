// Asio and Beast, compiled once: everything that links ratchet_net uses them from here.

#include <boost/asio/impl/src.hpp>
#include <boost/beast/src.hpp>
