// A mesh of one Verilated router, many instances, with traffic; see router_mesh.py.
#include <cstdint>
#include <cstring>
#include <vector>

#include "native.h"

namespace {

constexpr int kPorts = 5;

// Indices of the ports of a stream; the order is that of _STREAM_PORTS in router_mesh.py.
struct Stream {
  uint32_t payload, valid, ready;
};

// The ports of a router: streams in and out by port, then place and reset.
struct Ports {
  Stream i[kPorts], o[kPorts];
  uint32_t rst;
};


// The twin of `stalls` of d1_golden.fabric.mesh.
bool stalls(uint64_t seed, uint64_t place, uint64_t cycle, uint32_t share) {
  uint64_t x = seed * 0x9E3779B97F4A7C15u + cycle;
  x ^= place << 40;
  x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9u;
  x = (x ^ (x >> 27)) * 0x94D049BB133111EBu;
  return x >> 48 < share;
}

void clock(d1::Model* router) {
  router->ports[0].set_bit(false);
  router->eval();
  router->ports[0].set_bit(true);
  router->eval();
}

}  // namespace

extern "C" {

void mesh_reset(d1::Model* router, const Ports* ports) {
  for (int port = 0; port < kPorts; ++port) {
    router->ports[ports->i[port].valid].set_bit(false);
    router->ports[ports->o[port].ready].set_bit(false);
  }
  router->ports[ports->rst].set_bit(true);
  clock(router);
  clock(router);
  router->ports[ports->rst].set_bit(false);
}

// Run until `expected` packets are delivered, but not beyond cycle `last`; return the next cycle.
// `routers[n]` is null where none works; `neighbour[n][side]` is -1 there and at the edges. Place n
// offers `payload[n][k]` from `cycle[n][k]` on. A delivery is its cycle, its place and its payload.
uint64_t mesh_run(d1::Model** routers, uint32_t places, const Ports* ports,
                  const int64_t* neighbour, const int64_t* opposite, uint32_t bytes,
                  const uint8_t* payload, const int64_t* cycle, uint64_t packets, uint64_t last,
                  uint32_t share, uint64_t seed, uint64_t expected, int64_t* delivered_at,
                  uint8_t* delivered, uint64_t* delivered_count, uint64_t* passed) {
  std::vector<uint64_t> next(places);
  std::vector<uint8_t> packet(size_t{places} * kPorts * bytes);
  std::vector<uint8_t> valid(places * kPorts), ready(places * kPorts);
  uint64_t count = 0;
  // What every router shows, before any of them is evaluated.
  const auto look = [&](uint32_t place) {
    const d1::Model& router = *routers[place];
    for (int port = 0; port < kPorts; ++port) {
      const size_t at = place * kPorts + port;
      ready[at] = router.ports[ports->i[port].ready].bit();
      valid[at] = router.ports[ports->o[port].valid].bit();
      if (valid[at])
        std::memcpy(&packet[at * bytes], router.ports[ports->o[port].payload].storage, bytes);
    }
  };
  uint64_t now = 0;
  for (; now < last && count < expected; ++now) {
    for (uint32_t place = 0; place < places; ++place)
      if (routers[place]) look(place);
    for (uint32_t place = 0; place < places; ++place) {
      if (!routers[place]) continue;
      std::vector<d1::Port>& port_of = routers[place]->ports;
      for (int port = 0; port < kPorts; ++port) {
        const size_t own = place * kPorts + port;
        const uint8_t* offered = nullptr;
        bool taking = false;
        if (port == 0) {
          const uint64_t k = next[place];
          if (k < packets && cycle[place * packets + k] <= int64_t(now)) {
            offered = payload + (place * packets + k) * bytes;
            next[place] += ready[own];
          }
          taking = !stalls(seed, place, now, share);
          if (taking && valid[own] && count < expected) {
            delivered_at[2 * count] = now;
            delivered_at[2 * count + 1] = place;
            std::memcpy(delivered + count * bytes, &packet[own * bytes], bytes);
            ++count;
          }
        } else if (const int64_t other = neighbour[own]; other >= 0) {
          const size_t there = other * kPorts + opposite[port];
          if (valid[there]) offered = &packet[there * bytes];
          taking = ready[there];
        }
        port_of[ports->i[port].valid].set_bit(offered);
        if (offered) std::memcpy(port_of[ports->i[port].payload].storage, offered, bytes);
        port_of[ports->o[port].ready].set_bit(taking);
        passed[own] += taking && valid[own];
      }
      clock(routers[place]);
    }
  }
  *delivered_count = count;
  return now;
}

}  // extern "C"
