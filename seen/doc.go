// Package seen keeps which messages a sidecar has seen handled, so that all members
// of a group together can be compared with what was sent. A message is named by its
// origin, the spool that numbered it, and its number there within its topic.
//
// # What is durable when
//
// A note of a handled message is queued before the dedupe mark that says so. Where
// the marks lie in the same database (dedupe/local) both are in one commit, or the
// note in an earlier one: the broker is told after that, so a crash forgets no note
// of a message that does not come again. Elsewhere a note is on stable storage
// within the database's lazy delay (50 ms), and a crash may forget those of the last
// moment, of messages that do not come again: the stream is lazy, and after such a
// crash it is unsure. A repeat, or a dead letter, is on stable storage when its note
// has returned, in both.
//
// So what no member has seen was not handled by any, unless a member is unsure, or
// its notes began later than the message was sent, or were forgotten for want of
// room. All three are told with the notes, and none is a loss by itself.
//
// # On disk
//
//	h/m <stream>                   a group and topic: names, since when, until when unsure
//	h/r <stream>                   lazy notes may be under way: there after a crash
//	h/f <stream> <origin>          numbers up to here are forgotten
//	h/b <stream> <origin> <block>  which of 1,024 numbers were handled, or are dead letters
//
// A number costs a bit; a block whose numbers were all handled, and once, some
// bytes. Above Options.Limit the lowest block of the origin that has most is
// forgotten. The names are encrypted when there is a key ring; the numbers tell
// nothing of a message. What fails its checksum is begun anew, and makes the stream
// unsure, as a salvaged database does.
//
// # Concurrency
//
// All methods may be called from any goroutine. A Store owns no goroutine. A
// database takes one store at a time.
package seen
