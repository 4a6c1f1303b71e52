// Packets in and out of a node, and its retire trace; see node_link.py for the contracts.
#include <algorithm>
#include <cstring>
#include <deque>
#include <utility>
#include <vector>

#include "native.h"
#include "packet.h"

namespace {

using d1::Packet;

// Replies that a remote node may give to one request.
constexpr uint64_t kRemoteReplies = 16;
// Bounds that node_link.py checks: words of a struct of the trace, numbers of threads, registers.
constexpr size_t kRetireWords = 5, kThreads = 4, kRegisters = 32;

// SLOT_DTYPE and LATE_DTYPE of retire_order.py.
struct Retired {
  uint64_t cycle, pc;
  uint32_t insn;
  uint8_t rd, rd_valid, thread, pad;
  uint64_t value;
  uint8_t order, pending, slot_pad[6];
};
static_assert(sizeof(Retired) == 40);

struct Late {
  uint64_t cycle, value;
  uint8_t thread, rd, pad[6];
};
static_assert(sizeof(Late) == 24);

// Indices of the node's ports; the order is that of _DOOR_PORTS in node_link.py.
struct Ports {
  uint32_t request_payload, request_valid, request_ready;
  uint32_t reply_payload, reply_valid, reply_ready;
  uint32_t idle;
  // Of the node's own requests; node_id is 0, the clock, for a node that sends none.
  uint32_t own_payload, own_valid, own_ready;
  uint32_t answer_payload, answer_valid, answer_ready;
  uint32_t node_id;
};

// Answers a request of the node to another one; returns the number of replies.
using Remote = uint64_t (*)(const Packet* request, Packet* replies);

// Where a field is in its struct, of at most 64 bits.
struct Field {
  uint32_t offset, width;

  uint64_t of(const uint32_t* words) const {
    uint64_t value = 0;
    for (uint32_t taken = 0; taken < width;) {
      const uint32_t bit = offset + taken;
      value |= uint64_t{words[bit / 32] >> bit % 32} << taken;
      taken += 32 - bit % 32;
    }
    return width < 64 ? value & ((uint64_t{1} << width) - 1) : value;
  }
};

// The fields of RetiredSlot and ScalarResult; the order is that of _RETIRE_FIELDS in node_link.py.
struct RetireFields {
  Field thread, order, pc, insn, rd_valid, rd, pending, value;
  Field late_thread, late_rd, late_value;
};

// Who offers the request that is valid.
enum class Offer { kNobody, kHost, kNode };

enum Outcome : int { kDone = 0, kNotAccepted = 1, kNotAnswered = 2, kNotIdle = 3 };

class NodeLink {
 public:
  NodeLink(d1::Model* model, const Ports& ports, uint64_t seed, uint32_t stall)
      : model_(model), ports_(ports), seed_(seed), random_(seed), stall_(stall) {}

  void record_retired(std::vector<uint32_t> slots, std::vector<uint32_t> late,
                      const RetireFields& fields, uint64_t capacity) {
    slots_ = std::move(slots);
    late_ = std::move(late);
    fields_ = fields;
    retired.reserve(capacity);
  }

  Outcome exchange(const Packet* requests, uint64_t count, uint64_t drain, uint64_t limit) {
    uint64_t next = 0;     // the first request that a reply can still belong to
    uint64_t settled = 0;  // cycles in which replies were taken since all requests were
    // Replies are in order, so only writes at the end can still be answered after the last read.
    if (count == 0 || !requests[count - 1].is_silent()) drain = 0;
    uint64_t unanswered = 0;
    for (uint64_t i = 0; i < count; ++i) unanswered += !requests[i].is_silent();
    accepted = 0;
    for (uint64_t i = 0;; ++i) {
      // Replies come in the order of requests; a write has one only when it is at fault.
      for (; seen_ < replies.size(); ++seen_) {
        uint64_t match = next;
        while (match < accepted && !replies[seen_].answers(requests[match])) ++match;
        if (match == accepted) continue;
        unanswered -= !requests[match].is_silent();
        next = match + 1;
      }
      if (accepted == count && unanswered == 0 && settled >= drain) return kDone;
      if (i == limit) {
        offer_ = Offer::kNobody;
        return accepted < count ? kNotAccepted : kNotAnswered;
      }
      const bool wants = accepted < count && (looping_.empty() || !node_next_);
      if (wants && offer_ == Offer::kNobody && !stalls()) {
        port(ports_.request_payload).set(requests[accepted].words());
        offer_ = Offer::kHost;
      }
      const bool all_taken = accepted == count;
      accepted += cycle();
      settled += all_taken && reply_ready_;
    }
  }

  // A node that stays idle and gets nothing is not evaluated: its clock stands still.
  void advance(uint64_t cycles) {
    bool rested = false;
    for (uint64_t i = 0; i < cycles; ++i) {
      begin();
      if (rested && rests() && model_->can_skip()) return model_->skip(cycles - i);
      rested = rests();
      finish();
    }
  }

  Outcome run(uint64_t limit) {
    for (uint64_t i = 0;; ++i) {
      begin();
      if (rests()) return kDone;
      if (i == limit) return kNotIdle;
      finish();
    }
  }

  void forget() {
    random_ = seed_;  // stalls repeat from every reset
    offer_ = Offer::kNobody;
    answering_ = node_next_ = false;
    seen_ = 0;
    replies.clear();
    looping_.clear();
    answers_.clear();
    own_.clear();
    forget_retired();
    std::memset(late_dropped_, 0, sizeof(late_dropped_));
  }

  void forget_retired() {
    retired.clear();
    results.clear();
    dropped = 0;
  }

  void take_replies(Packet* out) {
    if (!replies.empty()) std::memcpy(out, replies.data(), replies.size() * sizeof(Packet));
    replies.clear();
    seen_ = 0;
  }

  Remote remote = nullptr;
  std::vector<Packet> replies;
  std::vector<Retired> retired;
  std::vector<Late> results;
  uint64_t dropped = 0;
  uint64_t accepted = 0;

 private:
  d1::Port& port(uint32_t index) { return model_->ports[index]; }

  // The node is idle, and nobody offers it anything.
  bool rests() {
    return port(ports_.idle).bit() && offer_ == Offer::kNobody && looping_.empty() &&
           answers_.empty();
  }

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
    if (offer_ == Offer::kNobody && !looping_.empty() && !stalls()) {
      port(ports_.request_payload).set(looping_.front().words());
      offer_ = Offer::kNode;
    }
    port(ports_.request_valid).set_bit(offer_ != Offer::kNobody);
    port(ports_.reply_ready).set_bit(reply_ready_);
    if (ports_.node_id) {
      own_ready_ = !stalls();
      if (!answering_ && !answers_.empty() && !stalls()) {
        port(ports_.answer_payload).set(answers_.front().words());
        answering_ = true;
      }
      port(ports_.own_ready).set_bit(own_ready_);
      port(ports_.answer_valid).set_bit(answering_);
    }
    model_->settle();
  }

  // Take over what the rising edge transfers; returns whether a request of the host was accepted.
  bool finish() {
    const bool taken = offer_ != Offer::kNobody && port(ports_.request_ready).bit();
    const bool by_host = taken && offer_ == Offer::kHost;
    if (taken && !by_host) {
      own_.push_back(looping_.front());
      looping_.pop_front();
    }
    if (reply_ready_ && port(ports_.reply_valid).bit()) {
      Packet reply;
      port(ports_.reply_payload).get(reply.words());
      take_reply(reply);
    }
    if (ports_.node_id) {
      if (answering_ && port(ports_.answer_ready).bit()) {
        answers_.pop_front();
        answering_ = false;
      }
      if (own_ready_ && port(ports_.own_valid).bit()) {
        Packet request;
        port(ports_.own_payload).get(request.words());
        route(request);
      }
    }
    for (const uint32_t index : late_)
      if (port(index).bit()) record_late(port(index));
    for (const uint32_t index : slots_)
      if (port(index).bit()) record(port(index));
    model_->finish();
    if (taken) {
      node_next_ = by_host;
      offer_ = Offer::kNobody;
    }
    return by_host;
  }

  // The door answers in order, so a reply to a request of the node's own settles those before it.
  void take_reply(const Packet& reply) {
    const auto match = std::find_if(own_.begin(), own_.end(),
                                    [&](const Packet& request) { return reply.answers(request); });
    if (match == own_.end()) {
      replies.push_back(reply);
      return;
    }
    own_.erase(own_.begin(), match + 1);
    answers_.push_back(reply);
  }

  // Bring a request of the node to where it goes.
  void route(const Packet& request) {
    uint32_t place;
    port(ports_.node_id).get(&place);
    const auto [to_node, to_others] = request.goes_to(reinterpret_cast<const uint8_t*>(&place));
    if (to_node) looping_.push_back(request);
    if (!to_others) return;
    if (remote) {
      Packet given[kRemoteReplies];
      const uint64_t count = remote(&request, given);
      answers_.insert(answers_.end(), given, given + count);
      return;
    }
    answers_.push_back(request.refusal());  // nobody is there
  }

  bool cycle() {
    begin();
    return finish();
  }

  void record(const d1::Port& slot) {
    uint32_t words[kRetireWords];
    slot.get(words);
    const uint64_t thread = fields_.thread.of(words), rd = fields_.rd.of(words);
    const bool pending = fields_.pending.of(words);
    if (retired.size() == retired.capacity()) {
      ++dropped;
      if (pending) late_dropped_[thread][rd] = true;
      return;
    }
    Retired& entry = retired.emplace_back();
    entry.cycle = model_->cycle();
    entry.pc = fields_.pc.of(words);
    entry.insn = static_cast<uint32_t>(fields_.insn.of(words));
    entry.rd = static_cast<uint8_t>(rd);
    entry.rd_valid = fields_.rd_valid.of(words) != 0;
    entry.thread = static_cast<uint8_t>(thread);
    entry.value = fields_.value.of(words);
    entry.order = static_cast<uint8_t>(fields_.order.of(words));
    entry.pending = pending;
  }

  void record_late(const d1::Port& result) {
    uint32_t words[kRetireWords];
    result.get(words);
    const uint64_t thread = fields_.late_thread.of(words), rd = fields_.late_rd.of(words);
    if (std::exchange(late_dropped_[thread][rd], false)) return;
    Late& entry = results.emplace_back();
    entry.cycle = model_->cycle();
    entry.value = fields_.late_value.of(words);
    entry.thread = static_cast<uint8_t>(thread);
    entry.rd = static_cast<uint8_t>(rd);
  }

  d1::Model* model_;
  Ports ports_;
  uint64_t seed_;
  uint64_t random_;
  uint32_t stall_;
  Offer offer_ = Offer::kNobody;  // whose request is valid and stays so until it is taken
  bool node_next_ = false;        // the last one was the host's
  bool reply_ready_ = false, own_ready_ = false;
  bool answering_ = false;  // the first answer is valid and stays so until it is taken
  std::deque<Packet> looping_;  // requests of the node to itself on their way
  std::deque<Packet> own_;      // those that its door has, as far as they may be answered
  std::deque<Packet> answers_;  // replies to requests of the node on their way
  size_t seen_ = 0;  // replies that exchange() has looked at
  std::vector<uint32_t> slots_, late_;  // ports of the trace, empty if it is not recorded
  RetireFields fields_{};
  // The instruction that waits for this register was not kept, so its value is not either.
  bool late_dropped_[kThreads][kRegisters] = {};
};

}  // namespace

extern "C" {

NodeLink* d1_link_new(d1::Model* model, const Ports* ports, uint64_t seed, uint32_t stall) {
  return new NodeLink(model, *ports, seed, stall);
}

void d1_link_record_retired(NodeLink* link, const uint32_t* slots, uint64_t slot_count,
                            const uint32_t* late, uint64_t late_count, const RetireFields* fields,
                            uint64_t capacity) {
  link->record_retired({slots, slots + slot_count}, {late, late + late_count}, *fields, capacity);
}

void d1_link_set_remote(NodeLink* link, Remote remote) { link->remote = remote; }

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

uint64_t d1_link_late_count(const NodeLink* link) { return link->results.size(); }

void d1_link_take_retired(NodeLink* link, Retired* out, Late* late) {
  std::copy(link->retired.begin(), link->retired.end(), out);
  std::copy(link->results.begin(), link->results.end(), late);
  link->forget_retired();
}

}  // extern "C"
