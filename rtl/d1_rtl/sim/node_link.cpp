// Packets in and out of a node, and its retire trace; see node_link.py for the contracts.
#include <cstring>
#include <vector>

#include "native.h"

namespace {

constexpr size_t kPacketBytes = 88;
constexpr uint8_t kWrite = 2, kFaultReply = 4;  // node_link.py checks them against Opcode
// A reply repeats tag, source and address of its request: these bytes of both.
constexpr size_t kIdentityStart = 2, kIdentityBytes = 14;

struct Packet {
  alignas(4) uint8_t bytes[kPacketBytes];

  bool is_write() const { return bytes[0] == kWrite; }
  bool answers(const Packet& request) const {
    if (request.is_write() && bytes[0] != kFaultReply) return false;
    return !std::memcmp(bytes + kIdentityStart, request.bytes + kIdentityStart, kIdentityBytes);
  }
  const uint32_t* words() const { return reinterpret_cast<const uint32_t*>(bytes); }
  uint32_t* words() { return reinterpret_cast<uint32_t*>(bytes); }
};
static_assert(sizeof(Packet) == kPacketBytes);

// LINK_RETIRE_DTYPE of node_link.py.
struct Retired {
  uint64_t cycle, pc;
  uint32_t insn;
  uint8_t rd, rd_valid;
  uint16_t pad;
  uint64_t value;
};
static_assert(sizeof(Retired) == 32);

// Indices of the node's ports; the order is that of PORTS in node_link.py.
struct Ports {
  uint32_t request_payload, request_valid, request_ready;
  uint32_t reply_payload, reply_valid, reply_ready;
  uint32_t idle;
  uint32_t retire_valid, retire_pc, retire_insn, retire_rd_valid, retire_rd, retire_value;
};

enum Outcome : int { kDone = 0, kNotAccepted = 1, kNotAnswered = 2, kNotIdle = 3 };

class NodeLink {
 public:
  NodeLink(d1::Model* model, const Ports& ports, uint64_t seed, uint32_t stall,
           uint64_t retire_capacity)
      : model_(model), ports_(ports), seed_(seed), random_(seed), stall_(stall) {
    retired.reserve(retire_capacity);
  }

  Outcome exchange(const Packet* requests, uint64_t count, uint64_t drain, uint64_t limit) {
    uint64_t next = 0;     // the first request that a reply can still belong to
    uint64_t settled = 0;  // cycles in which replies were taken since all requests were
    // Replies are in order, so only writes at the end can still be answered after the last read.
    if (count == 0 || !requests[count - 1].is_write()) drain = 0;
    uint64_t unanswered = 0;
    for (uint64_t i = 0; i < count; ++i) unanswered += !requests[i].is_write();
    accepted = 0;
    for (uint64_t i = 0;; ++i) {
      // Replies come in the order of requests; a write has one only when it is at fault.
      for (; seen_ < replies.size(); ++seen_) {
        uint64_t match = next;
        while (match < accepted && !replies[seen_].answers(requests[match])) ++match;
        if (match == accepted) continue;
        unanswered -= !requests[match].is_write();
        next = match + 1;
      }
      if (accepted == count && unanswered == 0 && settled >= drain) return kDone;
      if (i == limit) {
        offering_ = false;
        return accepted < count ? kNotAccepted : kNotAnswered;
      }
      if (accepted < count && !offering_ && !stalls()) {
        port(ports_.request_payload).set(requests[accepted].words());
        offering_ = true;
      }
      const bool all_taken = accepted == count;
      accepted += cycle();
      settled += all_taken && reply_ready_;
    }
  }

  void advance(uint64_t cycles) {
    for (uint64_t i = 0; i < cycles; ++i) cycle();
  }

  Outcome run(uint64_t limit) {
    for (uint64_t i = 0;; ++i) {
      begin();
      if (port(ports_.idle).bit()) return kDone;
      if (i == limit) return kNotIdle;
      finish();
    }
  }

  void forget() {
    random_ = seed_;  // stalls repeat from every reset
    offering_ = false;
    seen_ = 0;
    replies.clear();
    retired.clear();
    dropped = 0;
  }

  void take_replies(Packet* out) {
    if (!replies.empty()) std::memcpy(out, replies.data(), replies.size() * kPacketBytes);
    replies.clear();
    seen_ = 0;
  }

  std::vector<Packet> replies;
  std::vector<Retired> retired;
  uint64_t dropped = 0;
  uint64_t accepted = 0;

 private:
  d1::Port& port(uint32_t index) { return model_->ports[index]; }

  // The generator is xorshift64*; the stall rate is in parts of 2^32.
  bool stalls() {
    if (stall_ == 0) return false;
    random_ ^= random_ >> 12;
    random_ ^= random_ << 25;
    random_ ^= random_ >> 27;
    return random_ * 0x2545F4914F6CDD1Dull >> 32 < stall_;
  }

  void begin() {
    reply_ready_ = !stalls();
    port(ports_.request_valid).set_bit(offering_);
    port(ports_.reply_ready).set_bit(reply_ready_);
    model_->settle();
  }

  // Take over what the rising edge transfers; returns whether the request was accepted.
  bool finish() {
    const bool taken = offering_ && port(ports_.request_ready).bit();
    if (reply_ready_ && port(ports_.reply_valid).bit()) {
      replies.emplace_back();
      port(ports_.reply_payload).get(replies.back().words());
    }
    if (retired.capacity() && port(ports_.retire_valid).bit()) record();
    model_->finish();
    offering_ &= !taken;
    return taken;
  }

  bool cycle() {
    begin();
    return finish();
  }

  void record() {
    if (retired.size() == retired.capacity()) {
      ++dropped;
      return;
    }
    Retired& entry = retired.emplace_back();
    uint32_t rd;
    entry.cycle = model_->cycle();
    port(ports_.retire_pc).get(reinterpret_cast<uint32_t*>(&entry.pc));
    port(ports_.retire_value).get(reinterpret_cast<uint32_t*>(&entry.value));
    port(ports_.retire_insn).get(&entry.insn);
    port(ports_.retire_rd).get(&rd);
    entry.rd = static_cast<uint8_t>(rd);
    entry.rd_valid = port(ports_.retire_rd_valid).bit();
  }

  d1::Model* model_;
  Ports ports_;
  uint64_t seed_;
  uint64_t random_;
  uint32_t stall_;
  bool offering_ = false;  // a request is valid and must stay so until it is taken
  bool reply_ready_ = false;
  size_t seen_ = 0;  // replies that exchange() has looked at
};

}  // namespace

extern "C" {

NodeLink* d1_link_new(d1::Model* model, const Ports* ports, uint64_t seed, uint32_t stall,
                      uint64_t retire_capacity) {
  return new NodeLink(model, *ports, seed, stall, retire_capacity);
}

void d1_link_delete(NodeLink* link) { delete link; }

int d1_link_exchange(NodeLink* link, const Packet* requests, uint64_t count, uint64_t drain,
                     uint64_t limit) {
  return link->exchange(requests, count, drain, limit);
}

void d1_link_advance(NodeLink* link, uint64_t cycles) { link->advance(cycles); }

int d1_link_run(NodeLink* link, uint64_t limit) { return link->run(limit); }

void d1_link_forget(NodeLink* link) { link->forget(); }

uint64_t d1_link_accepted(const NodeLink* link) { return link->accepted; }

uint64_t d1_link_reply_count(const NodeLink* link) { return link->replies.size(); }

void d1_link_take_replies(NodeLink* link, Packet* out) { link->take_replies(out); }

uint64_t d1_link_retired_count(const NodeLink* link) { return link->retired.size(); }

uint64_t d1_link_dropped(const NodeLink* link) { return link->dropped; }

void d1_link_take_retired(NodeLink* link, Retired* out) {
  if (!link->retired.empty())
    std::memcpy(out, link->retired.data(), link->retired.size() * sizeof(Retired));
  link->retired.clear();
  link->dropped = 0;
}

}  // extern "C"
