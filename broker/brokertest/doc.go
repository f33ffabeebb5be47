// Package brokertest is the suite that every backend of package broker passes.
// It was written against RocketMQ; a backend that imitates one must not be
// kinder than it.
//
// [Run] runs it. The cases that need no fault run in parallel, each with topics
// and groups of its own; then, one after the other, those of the optional
// interfaces [Refusing] and [Doubting].
package brokertest
