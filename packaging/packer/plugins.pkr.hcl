# For Packer 1.7 and newer, `packer init`. Debian's 1.6 has the plugins built in and does not know this block: with it, name
# the other file (packaging/packer/sentry.pkr.hcl) and not the folder. Nothing has read this one but a person.
packer {
  required_plugins {
    amazon = {
      source  = "github.com/hashicorp/amazon"
      version = ">= 1.2"
    }
    qemu = {
      source  = "github.com/hashicorp/qemu"
      version = ">= 1.0"
    }
  }
}
