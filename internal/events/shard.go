package events

import (
	"fmt"
	"hash/fnv"
	"net/url"
	"strings"
)

// shardCount is into how many parts the branches of all repositories are divided among the committers. It stands in subjects:
// another number would leave commands in the stream that nobody reads.
const shardCount = 16

// Shards lists the shards of commands, as they stand in subjects.
func Shards() []string {
	all := make([]string, shardCount)
	for i := range all {
		all[i] = fmt.Sprintf("%02x", i)
	}
	return all
}

// Shard gives the shard of a branch of a repository: all usual spellings of the repository's address have the same. Whoever holds
// the shard is the one that writes the branch. Should two spellings differ all the same, the branch has two writers, which is
// slower and still right.
func Shard(repositoryURL, branch string) string {
	sum := fnv.New32a()
	_, _ = sum.Write([]byte(onePlace(repositoryURL) + "\x00" + branch)) // a hash takes everything
	return fmt.Sprintf("%02x", sum.Sum32()%shardCount)
}

// onePlace drops what spellings of one address differ in: user, capitals of the host, the scheme's own port, the ending.
func onePlace(raw string) string {
	u, err := url.Parse(raw)
	if err != nil || u.Scheme == "" || u.Opaque != "" {
		user, rest, ok := strings.Cut(raw, "@") // git@host:path, or no address at all
		if !ok {
			rest = user
		}
		host, path, _ := strings.Cut(rest, ":")
		return strings.ToLower(host) + "/" + bare(path)
	}
	host := strings.ToLower(u.Host)
	for scheme, port := range map[string]string{"http": ":80", "https": ":443", "ssh": ":22"} {
		if strings.EqualFold(u.Scheme, scheme) {
			host = strings.TrimSuffix(host, port)
		}
	}
	return host + "/" + bare(u.Path)
}

func bare(path string) string { return strings.TrimSuffix(strings.Trim(path, "/"), ".git") }
