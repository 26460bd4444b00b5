# For Packer 1.7 and newer, `packer init`. Debian's 1.6 has the plugin built in and does not know this block: its check leaves this
# file out, and nothing has read it but a person.
packer {
  required_plugins {
    amazon = {
      source  = "github.com/hashicorp/amazon"
      version = ">= 1.2"
    }
  }
}
