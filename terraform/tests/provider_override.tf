# Laid beside examples/complete when it is applied to the cloud that is played: an address has no host names for buckets.
provider "aws" {
  s3_use_path_style = true
}
