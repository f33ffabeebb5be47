// Command writer commits records to a new Badger database and prints, after
// each commit that it takes for durable, the number of its first record.
//
//	writer DIR MODE LAST
package main
