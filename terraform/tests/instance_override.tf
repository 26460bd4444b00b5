# Laid beside the modules' instances for moto, which gives every instance a public address and would have Terraform replace it at
# once. That ours have none is tested with the mocked provider.
resource "aws_instance" "this" {
  associate_public_ip_address = null
}
