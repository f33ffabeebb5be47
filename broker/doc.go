// Package broker is the contract to the message system outside: a Producer
// that sends and is told whether the broker has it, a Consumer that delivers
// and acks only when told to. Backends (rocketmq, embedded) implement it and
// pass the suite in brokertest; nothing above this package knows which one runs.
//
// The contract is written against Apache RocketMQ: at least once, a message
// may come again under the same ID, and several answers of a broker mean
// neither yes nor no.
package broker
