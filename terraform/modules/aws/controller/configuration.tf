# What the controller reads: its configuration in an SSM parameter, fetched at each start of the service, and the script that
# sets up a new instance. Neither has a secret in it.

locals {
  parameter    = "/picket/${var.name}/controller.toml"
  certificates = "/picket/${var.name}/aws-certificates"

  configuration = templatefile("${path.module}/templates/controller.toml.tftpl", {
    database         = one(aws_db_instance.this[*].endpoint)
    account          = data.aws_caller_identity.current.account_id
    region           = local.region
    chain_network    = var.chain_network
    admin_networks   = var.admin_networks
    enroll           = var.enroll
    aws_certificates = sort(keys(var.aws_certificates))
    sts_issuer       = var.sts_issuer
    hooks            = var.hooks
    passphrase       = aws_secretsmanager_secret.ca.arn
    extra            = var.extra_configuration
  })

  install = templatefile("${path.module}/../common/install.sh.tftpl", {
    release  = var.release
    programs = ["picket-controller", "picket"]
    packages = { apt = ["awscli", "jq", "openssl", "sqlite3"], dnf = ["jq", "openssl", "sqlite", "tar", "gzip"] }
  })

  user_data = { for name, subnet in local.controllers : name => templatefile("${path.module}/templates/user_data.sh.tftpl", {
    install      = local.install
    first        = name == "first"
    several      = length(local.controllers) > 1
    authority    = one(aws_secretsmanager_secret.authority[*].arn)
    password     = try(aws_db_instance.this[0].master_user_secret[0].secret_arn, null)
    mesh         = var.name
    region       = local.region
    volume       = replace(aws_ebs_volume.state[name].id, "-", "")
    parameter    = local.parameter
    certificates = local.certificates
    regions      = sort(keys(var.aws_certificates))
    hooks        = var.hooks != null
    host         = var.hooks == null ? "" : var.hooks.host
    secret       = var.hooks == null ? "" : aws_secretsmanager_secret.hooks[0].arn
    passphrase   = aws_secretsmanager_secret.ca.arn
    bucket       = var.backup_days == 0 || name != "first" ? "" : aws_s3_bucket.backups[0].bucket
  }) }
}

resource "aws_ssm_parameter" "configuration" {
  # checkov:skip=CKV2_AWS_34:it has no secret; operators read it in the console
  name        = local.parameter
  description = "Configuration of the Picket controller; read at each start of its service"
  type        = "String"
  # More than 4 kB, which is a dozen rules, needs the advanced tier.
  tier  = "Intelligent-Tiering"
  value = local.configuration
  tags  = local.tags
}

resource "aws_ssm_parameter" "certificate" {
  # checkov:skip=CKV2_AWS_34:it is a public certificate
  for_each = var.aws_certificates

  name        = "${local.certificates}/${each.key}"
  description = "AWS's certificate for instance identity documents of ${each.key}"
  type        = "String"
  value       = each.value
  tags        = local.tags
}
