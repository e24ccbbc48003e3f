package forge_test

import (
	"os"
	"testing"

	"github.com/towpath-dev/towpath/internal/forge/giteatest"
)

func TestMain(m *testing.M) { os.Exit(giteatest.Main(m)) }
