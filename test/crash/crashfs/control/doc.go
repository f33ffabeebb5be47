// Package control is the protocol by which a test drives crashfs: JSON values,
// one a line. Requests go to its standard input, replies and events come from
// its standard output.
//
// Each request gets one reply, in order. Events come in between, by
// themselves: "mounted" once at the start, "held" when an operation waits,
// "cut" when the power is gone. At the end of its input, as after quit,
// crashfs unmounts and exits, so it cannot outlive the test that started it.
//
//	{"do":"counts"}                                  → {"ops":41,"syncs":7}
//	{"do":"hold-at","n":3}                           → {}
//	                → {"event":{"kind":"held","ops":44,"held":{"kind":"fsync","path":"a"}}}
//	{"do":"survive","survivors":"random:7","dir":"/tmp/x/state"} → {}
//	{"do":"resume","n":1}                            → {}
//	{"do":"cut"}                                     → {"event":{"kind":"cut","ops":44}}, {}
//	{"do":"dance"}                                   → {"error":"unknown request \"dance\""}
package control
