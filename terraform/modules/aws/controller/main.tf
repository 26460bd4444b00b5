# The controller: one instance, its state on a volume of its own. There is one because its store is SQLite; while it is away
# every firewall and tunnel stays as it is, and only changes wait.

data "aws_region" "current" {}
data "aws_caller_identity" "current" {}
data "aws_partition" "current" {}

data "aws_subnet" "this" {
  id = var.subnet_id
}

locals {
  tags   = merge(var.tags, { "picket:mesh" = var.name })
  region = data.aws_region.current.name
}

resource "aws_instance" "this" {
  # checkov:skip=CKV_AWS_126:AWS checks an instance every minute without it, and nothing scales by this one's load
  ami                         = var.ami_id
  instance_type               = var.instance_type
  subnet_id                   = var.subnet_id
  vpc_security_group_ids      = [aws_security_group.instance.id]
  iam_instance_profile        = aws_iam_instance_profile.this.name
  associate_public_ip_address = false
  ebs_optimized               = true
  disable_api_termination     = var.deletion_protection
  user_data                   = local.user_data
  # A changed script is of use to a new instance alone; state and identity are on the volume.
  user_data_replace_on_change = true
  tags                        = merge(local.tags, { Name = "${var.name}-controller" })

  metadata_options {
    http_endpoint               = "enabled"
    http_tokens                 = "required"
    http_put_response_hop_limit = 1
    instance_metadata_tags      = "disabled"
  }

  # The volume stays attached, and so does the address: the hardware below is replaced, not the controller.
  maintenance_options {
    auto_recovery = "default"
  }

  root_block_device {
    encrypted   = true
    kms_key_id  = var.kms_key_arn
    volume_type = "gp3"
    volume_size = 20
  }
}

# Database and CA. It outlives the instance, and a destroy leaves a snapshot: who loses it enrols every host anew.
resource "aws_ebs_volume" "state" {
  availability_zone = data.aws_subnet.this.availability_zone
  size              = var.volume_gib
  type              = "gp3"
  encrypted         = true
  kms_key_id        = var.kms_key_arn
  final_snapshot    = var.deletion_protection
  tags              = merge(local.tags, { Name = "${var.name}-controller-state" })
}

resource "aws_volume_attachment" "state" {
  device_name = "/dev/sdf"
  volume_id   = aws_ebs_volume.state.id
  instance_id = aws_instance.this.id
  # A database that loses its disk under way is a torn one.
  stop_instance_before_detaching = true
}
