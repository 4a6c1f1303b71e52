// A die of nodes and routers that are evaluated one by one; see die_link.py for the contracts.
#include <algorithm>
#include <atomic>
#include <cstdio>
#include <cstring>
#include <deque>
#include <memory>
#include <thread>
#include <vector>

#include "native.h"
#include "packet.h"

namespace {

using d1::Packet;

// Indices of the ports of a stream; the order is that of _STREAM_PORTS in die_link.py.
struct StreamPorts {
  uint32_t payload, valid, ready;
};

// Who must be awake in the next cycle.
using Flags = std::atomic<uint8_t>*;

// A stream from one model to another, or between a model and the host. What both ends say for a
// cycle is in element cycle % 2 and what they say for the next one goes to the other, so that the
// models of a cycle can be evaluated in any order, and a node even for two cycles at once.
struct alignas(64) Channel {
  Packet packet[2];
  uint8_t valid[2], ready[2];
  uint32_t receiver;
  uint64_t packets;  // that were transferred

  bool transfers(unsigned now) const { return valid[now] & ready[now]; }
};

// A bundle of up to 96 bits from one unit to another, likewise.
struct Wire {
  uint32_t words[2][3];
};

// Words of the widest lanes: 8 of 64 bits.
constexpr size_t kMaxLaneWords = 16;

// The lanes of a link's end: what comes in in the next cycles, and what went out since it was taken.
struct Lanes {
  d1::Port i, o;
  std::vector<uint32_t> arriving, sent;
  size_t next = 0;  // word of `arriving`

  // Dark where nothing is known to arrive.
  void arrive() {
    static constexpr uint32_t dark[kMaxLaneWords] = {};
    const bool known = next < arriving.size();
    i.set(known ? &arriving[next] : dark);
    next += known ? i.words() : 0;
  }
  void send() {
    sent.resize(sent.size() + o.words());
    o.get(&*sent.end() - o.words());
  }
  void darken() {
    arriving.clear();
    sent.clear();
    next = 0;
  }
};

// A file that state is written to or read from, in the same order.
class Archive {
 public:
  Archive(const char* path, bool writes)
      : file_(std::fopen(path, writes ? "wb" : "rb")), writes_(writes), ok_(file_ != nullptr) {}
  ~Archive() { close(); }

  template <class T>
  void operator()(T& value) {
    bytes(&value, sizeof(T));
  }
  template <class T>
  void operator()(std::vector<T>& values) {
    uint64_t size = values.size();
    (*this)(size);
    if (!ok_) return;
    values.resize(size);
    bytes(values.data(), size * sizeof(T));
  }
  bool writes() const { return writes_; }
  bool ok() const { return ok_; }
  void fail() { ok_ = false; }
  bool close() {
    if (file_ && std::fclose(file_)) ok_ = false;
    file_ = nullptr;
    return ok_;
  }

 private:
  void bytes(void* data, size_t size) {
    if (!ok_) return;
    const size_t done = writes_ ? std::fwrite(data, 1, size, file_) : std::fread(data, 1, size, file_);
    ok_ = done == size;
  }

  std::FILE* file_;
  bool writes_, ok_;
};

// A node, the routers of a place or a link's end, and the streams at its ports.
class Unit {
 public:
  Unit(d1::Model* model, uint32_t idle, uint32_t reset)
      : model(model), idle_(bit(idle)), reset_(bit(reset)) {}

  // With lanes it never sleeps.
  void set_lanes(uint32_t i, uint32_t o) {
    lanes = std::make_unique<Lanes>(Lanes{model->ports[i], model->ports[o], {}, {}});
  }
  void add_input(Wire* wire, uint32_t port) { wire_inputs_.push_back({wire, model->ports[port]}); }
  void add_output(Wire* wire, uint32_t port) { wire_outputs_.push_back({wire, model->ports[port]}); }

  void add_input(Channel* channel, const StreamPorts& ports) {
    inputs_.push_back(end(channel, ports));
  }
  void add_output(Channel* channel, const StreamPorts& ports) {
    outputs_.push_back(end(channel, ports));
  }

  // Take what the neighbours said for this cycle, evaluate it, and say what they get in the next.
  // Returns whether it must be evaluated in the next cycle even if nothing comes.
  bool evaluate(uint64_t cycle, Flags wake) {
    const unsigned now = cycle & 1, next = now ^ 1;
    for (const End& i : inputs_) {
      *i.valid = i.channel->valid[now];
      if (!*i.valid) continue;
      std::memcpy(i.payload, i.channel->packet[now].bytes, d1::kPacketBytes);
      i.channel->packets += i.channel->ready[now];
    }
    for (const End& o : outputs_) *o.ready = o.channel->ready[now];
    for (WireEnd& i : wire_inputs_) i.port.set(i.wire->words[now]);
    if (lanes) {
      lanes->send();
      lanes->arrive();
    }
    model->skip(cycle - model->cycle());
    model->settle();
    model->finish();
    bool awake = lanes || !*idle_;
    for (const End& o : outputs_) {
      o.channel->valid[next] = *o.valid;
      if (!*o.valid) continue;
      std::memcpy(o.channel->packet[next].bytes, o.payload, d1::kPacketBytes);
      wake[o.channel->receiver].store(1, std::memory_order_relaxed);
      awake = true;
    }
    for (const End& i : inputs_) i.channel->ready[next] = *i.ready;
    for (WireEnd& o : wire_outputs_) o.port.get(o.wire->words[next]);
    ++busy_cycles;
    return awake;
  }

  // Say for the next cycle what was said for this one, in which nothing was valid.
  void repeat(uint64_t cycle) {
    const unsigned now = cycle & 1, next = now ^ 1;
    for (const End& o : outputs_) o.channel->valid[next] = 0;
    for (const End& i : inputs_) i.channel->ready[next] = i.channel->ready[now];
    for (WireEnd& o : wire_outputs_)
      std::copy_n(o.wire->words[now], std::size(o.wire->words[now]), o.wire->words[next]);
  }

  void set_reset(bool value) { *reset_ = value; }

  d1::Model* model;
  uint64_t busy_cycles = 0;
  std::unique_ptr<Lanes> lanes;

 private:
  struct WireEnd {
    Wire* wire;
    d1::Port port;
  };
  struct End {
    Channel* channel;
    uint8_t *valid, *ready;
    void* payload;
  };

  uint8_t* bit(uint32_t port) { return static_cast<uint8_t*>(model->ports[port].storage); }
  End end(Channel* channel, const StreamPorts& ports) {
    return {channel, bit(ports.valid), bit(ports.ready), model->ports[ports.payload].storage};
  }

  uint8_t *idle_, *reset_;
  std::vector<End> inputs_, outputs_;
  std::vector<WireEnd> wire_inputs_, wire_outputs_;
};

// The units of a place. A link's end is a site without a node: it works when stops do.
struct Site {
  uint32_t node;  // or kNobody
  uint32_t stop;
};

constexpr uint32_t kNobody = ~0u;

// How a unit takes part in a cycle.
enum Part : uint8_t {
  kSleeps = 0,
  kRepeats = 1,  // it is not evaluated, but what it said last is not yet in both halves of channels
  kWorks = 2,
};

// A wait that is short as long as every thread has a core, and costs little when it has not.
class Patience {
 public:
  // Returns whether it is time to sleep.
  bool turn() {
    if (++turns_ < kSpins) {
#if defined(__x86_64__)
      __builtin_ia32_pause();
#endif
      return false;
    }
    std::this_thread::yield();
    return turns_ >= kSpins + kYields;
  }

 private:
  static constexpr unsigned kSpins = 1000, kYields = 100;
  unsigned turns_ = 0;
};

// What a thread has left to do in a cycle: it takes from the front, the others from the back.
class alignas(64) Share {
 public:
  void set(uint32_t first, uint32_t last) {
    bounds_.store(uint64_t{last} << 32 | first, std::memory_order_relaxed);
  }
  // Returns what was taken, or -1 if nothing is left.
  int64_t take(bool front) {
    uint64_t bounds = bounds_.load(std::memory_order_relaxed);
    for (;;) {
      const uint32_t first = static_cast<uint32_t>(bounds), last = bounds >> 32;
      if (first == last) return -1;
      const uint64_t rest = front ? bounds + 1 : bounds - (uint64_t{1} << 32);
      if (bounds_.compare_exchange_weak(bounds, rest, std::memory_order_relaxed))
        return front ? first : last - 1;
    }
  }

 private:
  std::atomic<uint64_t> bounds_{0};
};

// A place at the edge where the host stands.
struct Door {
  Channel *i_request, *o_request, *i_reply, *o_reply;
  std::vector<uint32_t> requests;  // of an exchange, by their numbers
  size_t offered;                  // so many of them
  std::deque<Packet> refusals;     // of requests that left here
  bool stale = false;              // what is offered is of an exchange that was given up
};

// The requests of an exchange to one place. Their tags on the way are consecutive.
struct Destination {
  uint16_t first_tag = 0;
  uint64_t offered = 0;
  std::vector<uint32_t> requests;
};

// What is to come of a request.
enum Answer : uint8_t {
  kOnlyFault,  // a reply if it is at fault, or none
  kHidden,     // a reply that only this link asked for
  kWanted,
  kCame,
};

// What a step of the die does first, and then.
enum Phase { kStops, kNodes };

// A port of a unit that is recorded, and where in a row.
struct Watch {
  uint32_t unit;
  uint64_t word;
  d1::Port port;
};

enum Outcome : int { kDone = 0, kNotAccepted = 1, kNotAnswered = 2, kNotIdle = 3 };

// Bits of an address inside a node.
constexpr uint64_t kOffsetMask = 0xFFFFFF;

class Die {
 public:
  Die(uint32_t columns, uint32_t rows, uint32_t die_columns, uint32_t die_rows, uint32_t threads,
      uint64_t seed, uint32_t stall)
      : columns_(columns),
        rows_(rows),
        die_columns_(die_columns),
        die_rows_(die_rows),
        destinations_((columns + 2) * (rows + 2) * die_columns * die_rows),
        seed_(seed),
        random_(seed),
        stall_(stall),
        shares_(threads) {
    for (uint32_t id = 1; id < threads; ++id) workers_.emplace_back([this, id] { serve(id); });
  }

  ~Die() {
    stop_ = true;
    release();
    for (std::thread& worker : workers_) worker.join();
  }

  // The node of a place, if it has one, comes before its stop.
  void add_unit(d1::Model* model, uint32_t idle, uint32_t reset, bool is_node) {
    if (sites_.empty() || sites_.back().stop != kNobody) sites_.push_back({kNobody, kNobody});
    (is_node ? sites_.back().node : sites_.back().stop) = units_.size();
    units_.emplace_back(model, idle, reset);
  }

  // All units must be there. The ports of an end at the host are not looked at.
  void add_channel(uint32_t sender, const StreamPorts& o, uint32_t receiver, const StreamPorts& i) {
    Channel& channel = channels_.emplace_back();
    channel.receiver = receiver;
    if (sender != host()) units_[sender].add_output(&channel, o);
    if (receiver != host()) units_[receiver].add_input(&channel, i);
  }

  void add_door(const uint32_t* channels) {
    doors_.push_back({&channels_[channels[0]], &channels_[channels[1]], &channels_[channels[2]],
                      &channels_[channels[3]], {}, 0, {}});
  }

  // From a port of one unit to a port of the same width of another one.
  void add_wire(uint32_t sender, uint32_t o, uint32_t receiver, uint32_t i) {
    Wire& wire = wires_.emplace_back();
    units_[sender].add_output(&wire, o);
    units_[receiver].add_input(&wire, i);
  }

  // The unit that was added last is a link's end.
  void set_lanes(uint32_t i, uint32_t o) { units_.back().set_lanes(i, o); }

  // What arrives at a link's end in the next cycles; all of the last time has arrived.
  void put_lanes(uint32_t unit, const uint32_t* words, uint64_t cycles) {
    Lanes& lanes = *units_[unit].lanes;
    lanes.arriving.assign(words, words + cycles * lanes.i.words());
    lanes.next = 0;
  }
  void take_lanes(uint32_t unit, uint32_t* out) {
    Lanes& lanes = *units_[unit].lanes;
    std::copy(lanes.sent.begin(), lanes.sent.end(), out);
    lanes.sent.clear();
  }

  // For each place of the machine, doors included, the door by which requests, and broadcasts, go to it.
  void open(const uint32_t* request_doors, const uint32_t* broadcast_doors) {
    request_doors_.assign(request_doors, request_doors + destinations_.size());
    broadcast_doors_.assign(broadcast_doors, broadcast_doors + destinations_.size());
    parts_.assign(units_.size() + 1, kWorks);
    for (auto& wake : wake_)
      wake = std::vector<std::atomic<uint8_t>>(units_.size() + 1);
  }

  void reset(uint64_t cycles) {
    for (Unit& unit : units_) unit.set_reset(true);
    for (Channel& channel : channels_) channel = {{}, {}, {}, channel.receiver, 0};
    for (Wire& wire : wires_) wire = {};
    for (Unit& unit : units_)
      if (unit.lanes) unit.lanes->darken();
    for (uint64_t i = 0; i < cycles; ++i) {
      std::fill(parts_.begin(), parts_.end(), kWorks);
      step(1, [] { return false; });
    }
    for (Unit& unit : units_) {
      unit.set_reset(false);
      unit.busy_cycles = 0;
      if (unit.lanes) unit.lanes->darken();
    }
    for (Channel& channel : channels_) channel.packets = 0;
    for (Door& door : doors_) {
      door.refusals.clear();
      door.stale = false;
    }
    random_ = seed_;  // stalls repeat from every reset
    std::fill(parts_.begin(), parts_.end(), kWorks);
  }

  Outcome exchange(const Packet* requests, uint64_t count, uint64_t register_base,
                   uint32_t register_bits, uint64_t limit) {
    begin_exchange(requests, count, register_base, register_bits);
    const auto finished = [&] { return exchanged() == kDone; };
    const uint64_t end = cycle_ + limit;
    while (cycle_ < end && !finished()) step(end - cycle_, finished);
    return end_exchange();
  }

  void begin_exchange(const Packet* requests, uint64_t count, uint64_t register_base,
                      uint32_t register_bits) {
    requests_ = requests;
    accepted = unanswered_ = 0;
    answers_.assign(count, kOnlyFault);
    // Whether a later request to the same node, or the same routers, is answered: its reply tells
    // that those before it are done.
    std::vector<uint8_t> answered(2 * destinations_.size());
    for (uint64_t i = count; i-- > 0;) {
      const bool silent = requests[i].is_silent();
      if (!silent) answers_[i] = kWanted;
      const uint32_t to = destination(requests[i]);
      if (to == kNobody || requests[i].is_broadcast()) continue;
      const uint64_t offset = requests[i].field<uint64_t>(d1::kAddress) & kOffsetMask;
      uint8_t& known = answered[2 * to + (offset >> register_bits == register_base >> register_bits)];
      if (silent && !known) answers_[i] = kHidden;
      known = 1;
    }
    for (uint32_t i = 0; i < count; ++i) {
      const uint32_t to = destination(requests[i]);
      const auto& by = requests[i].is_broadcast() ? broadcast_doors_ : request_doors_;
      if (to == kNobody || by[to] == kNobody) {
        ++accepted;
        if (!requests[i].is_broadcast()) replies.push_back({i, requests[i].refusal()});
        continue;
      }
      unanswered_ += answers_[i] != kOnlyFault;
      doors_[by[to]].requests.push_back(i);
      destinations_[to].requests.push_back(i);
    }
    parts_[host()] = kWorks;
  }

  // How far the exchange has come.
  Outcome exchanged() const {
    return accepted < answers_.size() ? kNotAccepted : unanswered_ ? kNotAnswered : kDone;
  }

  Outcome end_exchange() {
    const Outcome outcome = exchanged();
    for (Door& door : doors_) {
      door.requests.clear();
      door.offered = 0;
      door.stale = door.i_request->valid[cycle_ & 1];
    }
    for (Destination& to : destinations_) {
      to.first_tag += to.offered;
      to.offered = 0;
      to.requests.clear();
    }
    requests_ = nullptr;
    return outcome;
  }

  // Nothing changes in a die where everybody sleeps.
  void advance(uint64_t cycles) {
    const uint64_t end = cycle_ + cycles;
    while (cycle_ < end) {
      if (!recording_ && everybody(kSleeps)) {
        cycle_ = end;
        return;
      }
      step(end - cycle_, [] { return false; });
    }
  }

  // Until all are idle and nothing is on its way.
  Outcome run(uint64_t limit) {
    const uint64_t end = cycle_ + limit;
    while (!everybody(kRepeats)) {
      if (cycle_ == end) return kNotIdle;
      step(end - cycle_, [] { return false; });
    }
    return kDone;
  }

  // Whether all but links' ends are idle and nothing is on its way to any of them.
  bool is_quiet() const {
    for (uint32_t i = 0; i <= host(); ++i)
      if ((i == host() || !units_[i].lanes) && part(i, cycle_) > kRepeats) return false;
    return true;
  }

  void get_working(uint8_t* out) const {
    for (uint32_t i = 0; i < host(); ++i) out[i] = part(i, cycle_) == kWorks;
  }
  void get_busy_cycles(uint64_t* out) const {
    for (const Unit& unit : units_) *out++ = unit.busy_cycles;
  }
  void get_packets(uint64_t* out) const {
    for (const Channel& channel : channels_) *out++ = channel.packets;
  }
  // In the order of the requests, with their numbers.
  void take_replies(Packet* out, uint32_t* numbers) {
    std::stable_sort(replies.begin(), replies.end(),
                     [](const Reply& a, const Reply& b) { return a.request < b.request; });
    for (const Reply& reply : replies) {
      *out++ = reply.packet;
      *numbers++ = reply.request;
    }
    replies.clear();
  }

  // Record channels, then ports of units, at the start of each cycle in a row of words.
  void record(std::vector<uint32_t> channels, const uint32_t* units, const uint32_t* ports,
              uint64_t port_count) {
    recorded_channels_ = std::move(channels);
    row_words_ = recorded_channels_.size() * (2 + d1::kPacketBytes / 4);
    watches_.clear();
    for (uint64_t i = 0; i < port_count; ++i) {
      const d1::Port port = units_[units[i]].model->ports[ports[i]];
      watches_.push_back({units[i], row_words_, port});
      row_words_ += port.words();
    }
    recording_ = row_words_ > 0;
    recorded.clear();
  }

  // The models come after the rest, so that a file that does not belong to this die is refused.
  bool transfer(const char* path, bool writes, const uint8_t* key, size_t key_bytes) {
    Archive archive(path, writes);
    std::vector<uint8_t> known(key, key + key_bytes);
    archive(known);
    if (!archive.ok() || !std::equal(known.begin(), known.end(), key, key + key_bytes)) return false;
    archive(cycle_);
    archive(random_);
    archive(parts_);
    for (auto& wake : wake_)
      for (auto& flag : wake) archive(flag);
    for (Channel& channel : channels_) archive(channel);
    for (Wire& wire : wires_) archive(wire);
    for (Destination& to : destinations_) archive(to.first_tag);
    for (Door& door : doors_) {
      std::vector<Packet> refusals(door.refusals.begin(), door.refusals.end());
      archive(refusals);
      door.refusals.assign(refusals.begin(), refusals.end());
    }
    for (Unit& unit : units_) {
      archive(unit.busy_cycles);
      std::vector<uint8_t> state;
      if (writes && !unit.model->save(state)) return false;
      archive(state);
      if (!writes && (!archive.ok() || !unit.model->restore(state))) return false;
    }
    return archive.close();
  }

  uint64_t cycle_count() const { return cycle_; }

  struct Reply {
    uint32_t request;
    Packet packet;
  };
  std::vector<Reply> replies;
  std::vector<uint32_t> recorded;
  uint64_t accepted = 0;

 private:
  uint32_t host() const { return units_.size(); }

  // How a unit takes part in this cycle or the next one.
  Part part(uint32_t unit, uint64_t cycle) const {
    return wake_[cycle & 1][unit].load(std::memory_order_relaxed) ? kWorks : parts_[unit];
  }

  // Whether nobody takes more part in this cycle.
  bool everybody(Part most) const {
    for (uint32_t i = 0; i <= host(); ++i)
      if (part(i, cycle_) > most) return false;
    return true;
  }

  // One cycle, or two if so many are left and the host's first does not finish what it is about.
  // Nodes are evaluated for both cycles in one go, while their state is in the processor's cache:
  // first all stops are evaluated, for the first cycle, which tells what nodes get in both; then
  // each node, and the stop of its place for the second cycle, which nobody waits for any more.
  template <class Finished>
  void step(uint64_t left, Finished finished) {
    if (recording_) record_channels(cycle_);
    work_.clear();
    for (uint32_t i = 0; i < sites_.size(); ++i)
      if (part(sites_[i].stop, cycle_) != kSleeps) work_.push_back(i);
    if (part(host(), cycle_) != kSleeps) work_.push_back(sites_.size());
    share_out(kStops);

    two_ = left > 1 && !finished();
    if (recording_ && two_) record_channels(cycle_ + 1);
    work_.clear();
    for (uint32_t i = 0; i < sites_.size(); ++i)
      if (works_on(sites_[i]) || recording_) work_.push_back(i);
    if (two_ && part(host(), cycle_ + 1) != kSleeps) work_.push_back(sites_.size());
    second_.store(false, std::memory_order_relaxed);
    share_out(kNodes);
    // Where nobody worked in the second cycle the die was as it is now before it.
    const bool worked = second_.load(std::memory_order_relaxed);
    if (recording_ && two_ && !worked) recorded.resize(recorded.size() - row_words_);
    cycle_ += 1 + (two_ && worked);
  }

  bool works_on(const Site& site) const {
    if (two_ && part(site.stop, cycle_ + 1) != kSleeps) return true;
    if (site.node == kNobody) return false;
    return part(site.node, cycle_) != kSleeps || (two_ && part(site.node, cycle_ + 1) != kSleeps);
  }

  void share_out(Phase phase) {
    phase_ = phase;
    const uint32_t count = work_.size(), threads = shares_.size();
    if (count <= threads) {
      for (const uint32_t item : work_) do_item(item);
      return;
    }
    for (uint32_t i = 0; i < threads; ++i)
      shares_[i].set(uint64_t{count} * i / threads, uint64_t{count} * (i + 1) / threads);
    unfinished_.store(threads - 1, std::memory_order_relaxed);
    release();
    work(0);
    for (Patience patience; unfinished_.load(std::memory_order_acquire);) patience.turn();
  }

  void release() {
    generation_.fetch_add(1, std::memory_order_release);
    generation_.notify_all();
  }

  // What a thread other than the first does for ever.
  void serve(uint32_t id) {
    for (uint32_t seen = 0;;) {
      for (Patience patience; generation_.load(std::memory_order_acquire) == seen;)
        if (patience.turn()) generation_.wait(seen, std::memory_order_acquire);
      ++seen;
      if (stop_) return;
      work(id);
      unfinished_.fetch_sub(1, std::memory_order_release);
    }
  }

  void work(uint32_t id) {
    for (uint32_t i = 0; i < shares_.size(); ++i) {
      Share& share = shares_[(id + i) % shares_.size()];
      for (int64_t item; (item = share.take(i == 0)) >= 0;) do_item(work_[item]);
    }
  }

  // An item of work is the number of a site, or of them all for the host.
  void do_item(uint32_t item) {
    if (item == sites_.size()) return take_part(host(), phase_ == kStops ? cycle_ : cycle_ + 1);
    const Site& site = sites_[item];
    if (phase_ == kStops) return take_part(site.stop, cycle_);
    for (uint64_t cycle = cycle_; cycle <= cycle_ + two_; ++cycle) {
      if (site.node == kNobody) break;
      if (recording_) record_ports(site.node, cycle);
      take_part(site.node, cycle);
    }
    if (two_) take_part(site.stop, cycle_ + 1);
  }

  void take_part(uint32_t unit, uint64_t cycle) {
    const Part now = part(unit, cycle);
    wake_[cycle & 1][unit].store(0, std::memory_order_relaxed);
    if (now == kSleeps) return;
    if (now == kRepeats) {
      unit == host() ? repeat_as_host(cycle) : units_[unit].repeat(cycle);
      parts_[unit] = kSleeps;
      return;
    }
    if (cycle != cycle_) second_.store(true, std::memory_order_relaxed);
    const Flags wake = wake_[(cycle + 1) & 1].data();
    const bool awake = unit == host() ? work_as_host(cycle, wake) : units_[unit].evaluate(cycle, wake);
    parts_[unit] = awake ? kWorks : kRepeats;
  }

  // The host's part of a cycle.
  bool work_as_host(uint64_t cycle, Flags wake) {
    const unsigned now = cycle & 1, next = now ^ 1;
    bool awake = false;
    for (Door& door : doors_) {
      if (door.i_request->transfers(now)) {
        accepted += !door.stale;
        door.stale = false;
      }
      awake |= offer(*door.i_request, now, wake, door.offered < door.requests.size(), [&] {
        return sent(door.requests[door.offered++]);
      });
      awake |= offer(*door.i_reply, now, wake, !door.refusals.empty(), [&] {
        const Packet refusal = door.refusals.front();
        door.refusals.pop_front();
        return refusal;
      });
      if (accept(*door.o_reply, now)) take_reply(door.o_reply->packet[now]);
      if (accept(*door.o_request, now) && !door.o_request->packet[now].is_broadcast()) {
        door.refusals.push_back(door.o_request->packet[now].refusal());
        awake = true;
      }
      awake |= !door.o_reply->ready[next] || !door.o_request->ready[next];
    }
    return awake;
  }

  void repeat_as_host(uint64_t cycle) {
    const unsigned now = cycle & 1, next = now ^ 1;
    for (Door& door : doors_) {
      for (Channel* i : {door.i_request, door.i_reply}) i->valid[next] = 0;
      for (Channel* o : {door.o_request, door.o_reply}) o->ready[next] = o->ready[now];
    }
  }

  // Offer what was not taken, or something new if there is; returns whether there is either.
  template <class New>
  bool offer(Channel& channel, unsigned now, Flags wake, bool more, New make) {
    const unsigned next = now ^ 1;
    const bool waits = channel.valid[now] && !channel.ready[now];
    if (waits)
      channel.packet[next] = channel.packet[now];
    else if (more && !stalls())
      channel.packet[next] = make();
    else {
      channel.valid[next] = 0;
      return more;
    }
    channel.valid[next] = 1;
    wake[channel.receiver].store(1, std::memory_order_relaxed);
    return true;
  }

  bool accept(Channel& channel, unsigned now) {
    channel.ready[now ^ 1] = !stalls();
    channel.packets += channel.transfers(now);
    return channel.transfers(now);
  }

  // The index of the place that a request goes to.
  uint32_t destination(const Packet& packet) const {
    const uint8_t* place = packet.bytes + d1::kPlace;
    const bool here = place[0] < columns_ + 2 && place[1] < rows_ + 2 &&
                      place[2] < die_columns_ && place[3] < die_rows_;
    const uint32_t die = place[3] * die_columns_ + place[2];
    return here ? (die * (rows_ + 2) + place[1]) * (columns_ + 2) + place[0] : kNobody;
  }

  // A request as it enters the die.
  Packet sent(uint32_t number) {
    Packet packet = requests_[number];
    Destination& to = destinations_[destination(packet)];
    packet.set_field<uint16_t>(d1::kTag, to.first_tag + to.offered++);
    if (answers_[number] == kHidden) packet.bytes[d1::kFlags] |= d1::kAckFlag;
    return packet;
  }

  // Replies to what an exchange that was given up had sent belong to nobody.
  void take_reply(const Packet& packet) {
    const uint32_t from = destination(packet);
    if (from == kNobody || !requests_) return;
    const Destination& to = destinations_[from];
    uint64_t index = static_cast<uint16_t>(packet.field<uint16_t>(d1::kTag) - to.first_tag);
    if (index >= to.offered) return;
    while (index + 0x10000 < to.offered) index += 0x10000;  // the latest with this tag
    const uint32_t number = to.requests[index];
    Answer& answer = answers_[number];
    if (answer == kCame) return;
    unanswered_ -= answer != kOnlyFault;
    if (answer == kWanted || packet.bytes[0] == d1::kFaultReply) {
      Packet& reply = replies.emplace_back(Reply{number, packet}).packet;
      reply.set_field(d1::kTag, requests_[number].field<uint16_t>(d1::kTag));
    }
    answer = kCame;
  }

  bool stalls() {
    if (stall_ == 0) return false;
    random_ ^= random_ >> 12;
    random_ ^= random_ << 25;
    random_ ^= random_ >> 27;
    return random_ * 0x2545F4914F6CDD1Dull >> 32 < stall_;
  }

  // Begin the row of a cycle with what is in channels; ports of nodes follow when they are known.
  void record_channels(uint64_t cycle) {
    const unsigned now = cycle & 1;
    recorded.resize(recorded.size() + row_words_);
    uint32_t* row = &*recorded.end() - row_words_;
    for (const uint32_t index : recorded_channels_) {
      const Channel& channel = channels_[index];
      *row++ = channel.valid[now];
      *row++ = channel.ready[now];
      std::memcpy(row, channel.packet[now].bytes, d1::kPacketBytes);
      row += d1::kPacketBytes / 4;
    }
  }

  void record_ports(uint32_t unit, uint64_t cycle) {
    const uint64_t rows_after = cycle_ + two_ - cycle;
    uint32_t* row = &*recorded.end() - (rows_after + 1) * row_words_;
    for (const Watch& watch : watches_)
      if (watch.unit == unit) watch.port.get(row + watch.word);
  }

  const uint32_t columns_, rows_, die_columns_, die_rows_;
  std::vector<Unit> units_;
  std::vector<Site> sites_;
  std::deque<Channel> channels_;
  std::deque<Wire> wires_;
  std::vector<Door> doors_;
  std::vector<uint32_t> request_doors_, broadcast_doors_;
  std::vector<Destination> destinations_;  // die by die, row by row, doors included
  uint64_t cycle_ = 0;

  std::vector<Part> parts_;  // of the units and, last, the host
  std::vector<std::atomic<uint8_t>> wake_[2];  // for a cycle with this number % 2

  // Of the step that goes on.
  Phase phase_ = kStops;
  bool two_ = false;                 // whether it is of two cycles
  std::vector<uint32_t> work_;       // items, see do_item
  std::atomic<bool> second_{false};  // whether anybody worked in the second cycle

  // Of the exchange that goes on.
  const Packet* requests_ = nullptr;
  std::vector<Answer> answers_;
  uint64_t unanswered_ = 0;

  const uint64_t seed_;
  uint64_t random_;  // xorshift64*
  uint32_t stall_;   // rate of stalls in parts of 2^32

  bool recording_ = false;
  std::vector<uint32_t> recorded_channels_;
  std::vector<Watch> watches_;
  uint64_t row_words_ = 0;

  std::vector<Share> shares_;  // of each thread
  std::vector<std::thread> workers_;
  std::atomic<uint32_t> generation_{0}, unfinished_{0};
  std::atomic<bool> stop_{false};
};

}  // namespace

extern "C" {

Die* d1_die_new(uint32_t columns, uint32_t rows, uint32_t die_columns, uint32_t die_rows,
                uint32_t threads, uint64_t seed, uint32_t stall) {
  return new Die(columns, rows, die_columns, die_rows, threads, seed, stall);
}

void d1_die_delete(Die* die) { delete die; }

void d1_die_add_unit(Die* die, d1::Model* model, uint32_t idle, uint32_t reset, int is_node) {
  die->add_unit(model, idle, reset, is_node);
}

void d1_die_add_channel(Die* die, uint32_t sender, const StreamPorts* o, uint32_t receiver,
                        const StreamPorts* i) {
  die->add_channel(sender, *o, receiver, *i);
}

void d1_die_add_wire(Die* die, uint32_t sender, uint32_t o, uint32_t receiver, uint32_t i) {
  die->add_wire(sender, o, receiver, i);
}

void d1_die_set_lanes(Die* die, uint32_t i, uint32_t o) { die->set_lanes(i, o); }

void d1_die_put_lanes(Die* die, uint32_t unit, const uint32_t* words, uint64_t cycles) {
  die->put_lanes(unit, words, cycles);
}

void d1_die_take_lanes(Die* die, uint32_t unit, uint32_t* out) { die->take_lanes(unit, out); }

void d1_die_add_door(Die* die, const uint32_t* channels) { die->add_door(channels); }

void d1_die_open(Die* die, const uint32_t* request_doors, const uint32_t* broadcast_doors) {
  die->open(request_doors, broadcast_doors);
}

void d1_die_reset(Die* die, uint64_t cycles) { die->reset(cycles); }

int d1_die_exchange(Die* die, const Packet* requests, uint64_t count, uint64_t register_base,
                    uint32_t register_bits, uint64_t limit) {
  return die->exchange(requests, count, register_base, register_bits, limit);
}

void d1_die_begin_exchange(Die* die, const Packet* requests, uint64_t count, uint64_t register_base,
                           uint32_t register_bits) {
  die->begin_exchange(requests, count, register_base, register_bits);
}

int d1_die_exchanged(const Die* die) { return die->exchanged(); }

int d1_die_end_exchange(Die* die) { return die->end_exchange(); }

int d1_die_is_quiet(const Die* die) { return die->is_quiet(); }

void d1_die_advance(Die* die, uint64_t cycles) { die->advance(cycles); }

int d1_die_run(Die* die, uint64_t limit) { return die->run(limit); }

uint64_t d1_die_cycle(const Die* die) { return die->cycle_count(); }

uint64_t d1_die_accepted(const Die* die) { return die->accepted; }

uint64_t d1_die_reply_count(const Die* die) { return die->replies.size(); }

void d1_die_take_replies(Die* die, Packet* out, uint32_t* numbers) {
  die->take_replies(out, numbers);
}

void d1_die_working(const Die* die, uint8_t* out) { die->get_working(out); }

void d1_die_busy_cycles(const Die* die, uint64_t* out) { die->get_busy_cycles(out); }

void d1_die_packets(const Die* die, uint64_t* out) { die->get_packets(out); }

void d1_die_record(Die* die, const uint32_t* channels, uint64_t channel_count,
                   const uint32_t* units, const uint32_t* ports, uint64_t port_count) {
  die->record({channels, channels + channel_count}, units, ports, port_count);
}

uint64_t d1_die_recorded_words(const Die* die) { return die->recorded.size(); }

void d1_die_take_recorded(Die* die, uint32_t* out) {
  std::copy(die->recorded.begin(), die->recorded.end(), out);
  die->recorded.clear();
}

int d1_die_transfer(Die* die, const char* path, int writes, const uint8_t* key, uint64_t bytes) {
  return die->transfer(path, writes, key, bytes);
}

}  // extern "C"
