// A packet as the bytes of d1_golden.packet.PACKET_DTYPE, as far as the drivers look into it.
#pragma once
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <utility>

namespace d1 {

constexpr size_t kPacketBytes = 88;
// native.py checks these against d1_golden.packet.
constexpr uint8_t kWrite = 2, kFaultReply = 4, kPost = 5, kBroadcast = 6, kAckFlag = 0x40;
constexpr size_t kFlags = 1, kTag = 2, kAddress = 8, kMask = 16;
constexpr size_t kPlace = kAddress + 3, kPlaceBytes = 4;
// A reply repeats tag, source and address of its request: these bytes of both.
constexpr size_t kIdentityStart = kTag, kIdentityBytes = 14;

struct Packet {
  alignas(4) uint8_t bytes[kPacketBytes];

  // Whether it is answered only when it is at fault.
  bool is_silent() const {
    const bool writes = bytes[0] == kWrite || bytes[0] == kPost || is_broadcast();
    return writes && !(bytes[kFlags] & kAckFlag);
  }
  bool is_broadcast() const { return bytes[0] == kBroadcast; }
  bool answers(const Packet& request) const {
    if (request.is_silent() && bytes[0] != kFaultReply) return false;
    return !std::memcmp(bytes + kIdentityStart, request.bytes + kIdentityStart, kIdentityBytes);
  }
  // Whether it goes to the node at `place` (address bits 55..24), and whether to others.
  std::pair<bool, bool> goes_to(const uint8_t* place) const {
    const uint8_t* near = bytes + kPlace;
    const bool to_one = !is_broadcast() || !std::memcmp(near, bytes + kMask, kPlaceBytes);
    if (to_one) {
      const bool own = !std::memcmp(near, place, kPlaceBytes);
      return {own, !own};
    }
    bool own = true;
    for (size_t i = 0; i < kPlaceBytes; ++i)
      own &= near[i] <= place[i] && place[i] <= bytes[kMask + i];
    return {own, true};
  }
  // The FAULT_REPLY to it where nobody answers to its address.
  Packet refusal() const {
    Packet reply{};
    reply.bytes[0] = kFaultReply;
    std::memcpy(reply.bytes + kIdentityStart, bytes + kIdentityStart, kIdentityBytes);
    return reply;
  }
  template <class T>
  T field(size_t offset) const {
    T value;
    std::memcpy(&value, bytes + offset, sizeof(T));
    return value;
  }
  template <class T>
  void set_field(size_t offset, T value) {
    std::memcpy(bytes + offset, &value, sizeof(T));
  }
  const uint32_t* words() const { return reinterpret_cast<const uint32_t*>(bytes); }
  uint32_t* words() { return reinterpret_cast<uint32_t*>(bytes); }
};
static_assert(sizeof(Packet) == kPacketBytes);

}  // namespace d1
