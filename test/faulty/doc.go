// Package faulty is a bad network with a bad server at its end: a proxy in front of
// a good one that breaks what goes through it.
//
// It answers 5xx without asking, and after the server has done its work; it hangs,
// trickles, cuts bodies short in both directions, flips bits of blocks, drops the
// event bus, tells events twice, and can be gone altogether for a while. What it
// breaks comes from a seed: the same requests in the same order meet the same faults.
//
// A fault never makes up an answer that a server could give by right: there is no
// false success. A flipped bit is one of the bytes of a block only, for these carry
// their own proof.
package faulty
